"""Where vectors come from: the embedded model, MiniLM, or a file made elsewhere."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from mergeit_async.errors import UsageError

WORDLLAMA_MODEL = "l2_supercat"
WORDLLAMA_DIM = 256
MAX_CHARACTERS = 4096
MINILM_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
MODEL_FILES = (".safetensors", ".bin", ".json", ".txt")
DIGEST_BYTES = 8


def load_embedder(name: str) -> WordLlamaEmbedder | MiniLMEmbedder:
    """The embedder called `name`: "wordllama", "minilm", or "minilm:" and a model folder.

    Raises UsageError for any other name, or where the model cannot be loaded.
    """
    kind, _, folder = name.partition(":")
    if name == "wordllama":
        return WordLlamaEmbedder()
    if kind == "minilm" and (folder or name == "minilm"):
        return MiniLMEmbedder(Path(folder) if folder else None)
    raise UsageError(
        f'unknown embedder "{name}"; '
        "use wordllama, minilm, minilm:FOLDER, or the path of a .npy file of vectors."
    )


class WordLlamaEmbedder:
    """The default: mean token vectors from weights inside the wordllama wheel; never a download.

    A text has the same vector, bit for bit, in whatever batch it comes. A text without tokens,
    the empty one, gets the diagonal of the space, close to no text's vector.

    Only the first 4,096 characters of a text count, some four times what MiniLM reads: a mean
    over so many tokens hardly moves with more, and memory grows with the longest text of a batch.
    """

    name = f"wordllama/{WORDLLAMA_MODEL}_{WORDLLAMA_DIM}/{MAX_CHARACTERS}-characters"
    dim = WORDLLAMA_DIM

    def __init__(self) -> None:
        with _root_logger_untouched():
            import wordllama
        self._model = wordllama.WordLlama.load(
            config=WORDLLAMA_MODEL,
            cache_dir=Path(wordllama.__file__).parent,
            dim=WORDLLAMA_DIM,
            disable_download=True,
        )

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The vectors of `texts`, (n_texts, 256) float32, L2-normalised."""
        heads = [text[:MAX_CHARACTERS] for text in texts]
        # No tokens, no mean: 0 / 0, replaced below.
        with np.errstate(invalid="ignore"):
            # Batches of 8 waste least on padding: the fastest size on short texts, too.
            vectors: NDArray[np.float32] = self._model.embed(heads, norm=True, batch_size=8)
        vectors[np.isnan(vectors).any(axis=1)] = self.dim**-0.5
        return vectors


class MiniLMEmbedder:
    """The paper's embedder: all-MiniLM-L6-v2, mean pooling, on the GPU where there is one.

    `folder` is a sentence-transformers model on disk; without it the model comes from the cache
    of the Hugging Face hub or is downloaded. How many tokens of a text count is the model's own
    setting (256). A text's vector may differ in the last bits with the batch it comes in and the
    device; a run saves its vectors, so that cannot change a resumed plan.

    Raises UsageError where sentence-transformers or the model is missing.
    """

    def __init__(self, folder: Path | None = None) -> None:
        if folder is not None and not folder.is_dir():
            raise UsageError(f"{folder}: no such model folder; give one after minilm:.")
        self._model = _load_minilm(folder)
        self.name = "minilm/all-MiniLM-L6-v2" if folder is None else _name_by_content(folder)
        self.dim = len(self._model.encode(" ", show_progress_bar=False))

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The vectors of `texts`, (n_texts, dim) float32, L2-normalised."""
        vectors = self._model.encode(
            list(texts),
            batch_size=64,
            normalize_embeddings=True,
            convert_to_numpy=True,
            show_progress_bar=False,
        )
        return np.asarray(vectors, dtype=np.float32).reshape(len(texts), self.dim)


class PrecomputedVectors:
    """Vectors of a .npy file, one row for each record of the dataset, read as they are needed.

    Any float type; float16 halves the file. Raises UsageError where the file is missing, is not
    one two-dimensional array of floats, or would have to be unpickled.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._vectors = _open_vectors(path)
        self.dim = int(self._vectors.shape[1])

    def __len__(self) -> int:
        return len(self._vectors)

    @cached_property
    def name(self) -> str:
        """A name by content: it reads the whole file once."""
        with self._path.open("rb") as file:
            content = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=DIGEST_BYTES))
        return f"precomputed/{content.hexdigest()}"

    def check_length(self, n_records: int, *, exact: bool) -> None:
        """Raise UsageError unless there are `n_records` vectors, or more where not `exact`."""
        found = len(self)
        if found < n_records or (exact and found != n_records):
            raise UsageError(
                f"{self._path}: {found} vectors for a dataset of {n_records} records; "
                "give the vectors of this dataset, one for each record and in its order."
            )

    def take(self, records: NDArray[np.int64]) -> NDArray[np.float32]:
        """The vectors of `records` (row numbers), (n_records, dim) float32, L2-normalised.

        Raises UsageError where a record has no vector, or one with NaN, infinity or no length.
        """
        if len(records):
            self.check_length(int(records.max()) + 1, exact=False)
        vectors = np.asarray(self._vectors[records], dtype=np.float64)
        peak = np.abs(vectors).max(axis=1, keepdims=True, initial=0.0)
        usable = np.isfinite(peak[:, 0]) & (peak[:, 0] > 0)
        if not usable.all():
            raise UsageError(
                f"{self._path}: row {int(records[np.argmin(usable)])} is all zeros or holds NaN "
                "or infinity; embed that record again or remove it from both files."
            )
        # Dividing by the peak first keeps the squares of very large and small numbers in range.
        vectors /= peak
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors.astype(np.float32)


@contextmanager
def _root_logger_untouched() -> Iterator[None]:
    """Undo what an import does to the root logger: wordllama's sets it up to print every INFO."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


def _load_minilm(folder: Path | None) -> Any:
    if find_spec("sentence_transformers") is None:
        raise UsageError(
            "the minilm embedder needs sentence-transformers, which is not installed; "
            'run pip install "mergeit-async[minilm]".'
        )
    from sentence_transformers import SentenceTransformer

    try:
        return SentenceTransformer(MINILM_MODEL if folder is None else str(folder))
    # The hub, its HTTP client and the model code share no base class below Exception.
    except Exception as error:
        reason = _first_line(error)
        raise UsageError(
            f"the model {MINILM_MODEL} can be neither found nor downloaded ({reason}); go online, "
            "or give the folder of a saved copy as minilm:FOLDER."
            if folder is None
            else f"{folder}: not a model sentence-transformers can load ({reason}); "
            "give the folder it was saved to."
        ) from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _name_by_content(folder: Path) -> str:
    """A name that another copy of the same model shares, wherever it lies."""
    content = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for path in sorted(path for path in folder.rglob("*") if path.suffix in MODEL_FILES):
        content.update(path.relative_to(folder).as_posix().encode())
        with path.open("rb") as file:
            content.update(hashlib.file_digest(file, "blake2b").digest())
    return f"minilm/{content.hexdigest()}"


def _open_vectors(path: Path) -> NDArray[Any]:
    if not path.is_file():
        raise UsageError(f"{path}: no such file of vectors; check the path after --embedder.")
    try:
        # Unlike np.load, this never unpickles and takes nothing but a .npy file.
        vectors: NDArray[Any] = open_memmap(path, mode="r")
    except (ValueError, OSError) as error:
        raise UsageError(
            f"{path}: not a readable .npy array of numbers ({_first_line(error)}); "
            "write it with numpy.save."
        ) from error
    if vectors.ndim != 2 or 0 in vectors.shape or not np.issubdtype(vectors.dtype, np.floating):
        raise UsageError(
            f"{path}: {vectors.dtype} numbers of shape {vectors.shape} are not vectors; "
            "save one row of floating-point numbers for each record."
        )
    return vectors
