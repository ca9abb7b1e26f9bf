"""Where vectors come from: the embedded model, MiniLM where it is installed, and .npy files."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mergeit_async.errors import UsageError
from mergeit_async.providers.embeddings import (
    MiniLMEmbedder,
    PrecomputedVectors,
    WordLlamaEmbedder,
    load_embedder,
)

TEXTS = [
    "Translate the sentence into French.",
    "Translate this phrase to French, please.",
    "List three prime numbers above 100.",
    "Ein Satz auf Deutsch, 日本語も。",
    "a",
]
MINILM_INSTALLED = find_spec("sentence_transformers") is not None


@pytest.fixture(scope="module")
def wordllama() -> WordLlamaEmbedder:
    return WordLlamaEmbedder()


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two small layers with random weights: the format of MiniLM, not its quality."""
    if not MINILM_INSTALLED:
        pytest.skip('sentence-transformers is not installed: pip install "mergeit-async[minilm]"')
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("model")
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{c}" for c in letters)]
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "max_position_embeddings": 64}
    layers = {"num_hidden_layers": 2, "num_attention_heads": 2}
    BertModel(BertConfig(vocab_size=len(words), **sizes, **layers)).save_pretrained(folder)
    return folder


def save(path: Path, vectors: NDArray[np.floating]) -> PrecomputedVectors:
    np.save(path, vectors)
    return PrecomputedVectors(path)


def test_wordllama_gives_unit_vectors_that_are_closer_for_closer_texts(
    wordllama: WordLlamaEmbedder,
) -> None:
    vectors = wordllama.embed(TEXTS)

    assert vectors.shape == (len(TEXTS), wordllama.dim) == (len(TEXTS), 256)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0)
    assert vectors[0] @ vectors[1] > 0.6 > 0.3 > vectors[0] @ vectors[2]


def test_wordllama_gives_a_text_the_same_vector_in_any_batch(wordllama: WordLlamaEmbedder) -> None:
    texts = [*TEXTS, "long " * 700, ""] * 3
    together = wordllama.embed(texts)

    alone = np.concatenate([wordllama.embed([text]) for text in texts])

    assert np.array_equal(alone, together)


@pytest.mark.parametrize("text", ["", " ", "\x00", "\u200b", "\ue000"])
def test_wordllama_gives_texts_without_words_a_unit_vector(
    wordllama: WordLlamaEmbedder, text: str
) -> None:
    vectors = wordllama.embed(["words", text])

    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0)
    assert vectors[0] @ vectors[1] < 0.5


def test_wordllama_embeds_no_texts_as_no_vectors(wordllama: WordLlamaEmbedder) -> None:
    assert wordllama.embed([]).shape == (0, 256)


def test_wordllama_embeds_megabytes_of_text_in_bounded_memory(
    wordllama: WordLlamaEmbedder,
) -> None:
    texts = ["word " * 200_000, "日" * 1_000_000]
    tracemalloc.start()
    vectors = wordllama.embed(texts)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 100e6
    assert np.array_equal(vectors, wordllama.embed([text[:4096] for text in texts]))


def test_loading_wordllama_leaves_the_root_logger_alone() -> None:
    program = (
        "import logging; from mergeit_async.providers.embeddings import load_embedder;"
        "load_embedder('wordllama'); root = logging.getLogger(); raise SystemExit("
        "root.handlers != [] or root.level != logging.WARNING)"
    )

    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0


@pytest.mark.parametrize("name", ["tfidf", "", "wordllama:x", "minilm:", "vectors.csv"])
def test_an_unknown_embedder_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(UsageError, match=r"wordllama, minilm, minilm:FOLDER, or .* \.npy"):
        load_embedder(name)


def test_wordllama_is_loaded_by_its_name_and_names_its_version() -> None:
    embedder = load_embedder("wordllama")

    assert isinstance(embedder, WordLlamaEmbedder)
    assert embedder.name == "wordllama/l2_supercat_256/4096-characters"


def test_minilm_from_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="missing: no such model folder"):
        load_embedder(f"minilm:{tmp_path / 'missing'}")


@pytest.mark.skipif(MINILM_INSTALLED, reason="sentence-transformers is installed")
def test_minilm_without_its_package_says_how_to_install_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r'pip install "mergeit-async\[minilm\]"'):
        load_embedder("minilm")
    with pytest.raises(UsageError, match=r'pip install "mergeit-async\[minilm\]"'):
        load_embedder(f"minilm:{tmp_path}")


def test_minilm_pools_the_mean_of_a_texts_tokens(tiny_model: Path) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    model = AutoModel.from_pretrained(tiny_model).eval()
    expected = []
    for text in TEXTS:
        tokens = tokenizer([text], return_tensors="pt", truncation=True, max_length=64)
        with torch.no_grad():
            mean = model(**tokens).last_hidden_state[0].mean(dim=0).numpy()
        expected.append(mean / np.linalg.norm(mean))

    vectors = load_embedder(f"minilm:{tiny_model}").embed(TEXTS)

    assert vectors.shape == (len(TEXTS), 32)
    assert vectors.dtype == np.float32
    assert np.allclose(vectors, expected, atol=1e-5)


def test_minilm_from_a_folder_is_named_by_content(tiny_model: Path, tmp_path: Path) -> None:
    names = [MiniLMEmbedder(tiny_model).name]
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in tiny_model.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    names.append(MiniLMEmbedder(copy).name)
    (copy / "vocab.txt").write_text("changed")
    names.append(MiniLMEmbedder(copy).name)

    assert names[0] == names[1] != names[2]


def test_minilm_from_a_folder_that_holds_no_model_is_refused(
    tiny_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="not a model sentence-transformers can load"):
        load_embedder(f"minilm:{tmp_path}")


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
def test_saved_vectors_are_taken_by_record_as_unit_vectors(tmp_path: Path, dtype: str) -> None:
    raw = np.array([[3.0, 4.0], [1.0, 0.0], [0.0, -2.0]]).astype(dtype)
    saved = save(tmp_path / "v.npy", raw)

    vectors = saved.take(np.array([2, 0]))

    assert (len(saved), saved.dim) == (3, 2)
    assert vectors.dtype == np.float32
    assert np.allclose(vectors, [[0.0, -1.0], [0.6, 0.8]])
    assert saved.take(np.array([], dtype=np.int64)).shape == (0, 2)


def test_saved_numbers_whose_squares_leave_the_range_keep_their_direction(tmp_path: Path) -> None:
    saved = save(tmp_path / "v.npy", np.array([[3e300, 4e300], [3e-300, 4e-300]]))

    assert np.allclose(saved.take(np.array([0, 1])), [[0.6, 0.8], [0.6, 0.8]])


def test_saved_vectors_are_named_by_content(tmp_path: Path) -> None:
    first = save(tmp_path / "a.npy", np.eye(3))
    same = save(tmp_path / "b.npy", np.eye(3))
    other = save(tmp_path / "c.npy", np.eye(3)[::-1].copy())

    assert first.name == same.name != other.name
    assert first.name.startswith("precomputed/")


def test_the_number_of_saved_vectors_must_fit_the_dataset(tmp_path: Path) -> None:
    saved = save(tmp_path / "v.npy", np.eye(3))

    saved.check_length(3, exact=True)
    saved.check_length(2, exact=False)
    with pytest.raises(UsageError, match=r"v\.npy: 3 vectors for a dataset of 2 records"):
        saved.check_length(2, exact=True)
    with pytest.raises(UsageError, match="3 vectors for a dataset of 4 records"):
        saved.check_length(4, exact=False)
    with pytest.raises(UsageError, match="3 vectors for a dataset of 6 records"):
        saved.take(np.array([0, 5]))


@pytest.mark.parametrize(
    "row", [[np.nan, 1.0], [np.inf, 1.0], [0.0, 0.0]], ids=["NaN", "infinity", "zeros"]
)
def test_a_saved_row_without_direction_is_named(tmp_path: Path, row: list[float]) -> None:
    saved = save(tmp_path / "v.npy", np.array([[1.0, 0.0], [0.0, 1.0], row]))

    assert saved.take(np.array([0, 1])).shape == (2, 2)
    with pytest.raises(UsageError, match=r"v\.npy: row 2 is all zeros or holds NaN or infinity"):
        saved.take(np.array([1, 2]))


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(4),
        np.zeros((2, 2, 2)),
        np.zeros((0, 4)),
        np.zeros((4, 0)),
        np.zeros((2, 2), dtype=np.int32),
        np.array([["a", "b"]]),
    ],
    ids=["1-d", "3-d", "no rows", "no columns", "integers", "strings"],
)
def test_an_array_that_holds_no_vectors_is_refused(tmp_path: Path, array: np.ndarray) -> None:
    with pytest.raises(UsageError, match=r"v\.npy: "):
        save(tmp_path / "v.npy", array)


class Explosive:
    """Pickled, it would raise when a reader unpickles it."""

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return (RuntimeError, ("unpickled",))


def test_a_file_of_objects_is_refused_and_never_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "v.npy"
    np.save(path, np.array([[Explosive()]], dtype=object), allow_pickle=True)

    with pytest.raises(UsageError, match=r"v\.npy: not a readable \.npy array of numbers"):
        PrecomputedVectors(path)


@pytest.mark.parametrize("kind", ["text", "empty", "cut off", "npz", "folder", "missing"])
def test_a_file_that_is_no_npy_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "v.npy"
    np.save(path, np.eye(64))
    if kind == "text":
        path.write_text("0.1 0.2\n")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "cut off":
        path.write_bytes(path.read_bytes()[:1000])
    elif kind == "npz":
        with path.open("wb") as file:
            np.savez(file, vectors=np.eye(3))
    else:
        path.unlink()
        if kind == "folder":
            path.mkdir()

    with pytest.raises(UsageError, match=r"v\.npy: (not a readable|no such file)"):
        PrecomputedVectors(path)
