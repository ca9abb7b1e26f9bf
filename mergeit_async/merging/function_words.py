"""Words that say little alone, and how numbers are spelled."""

from __future__ import annotations

from collections.abc import Set

_BY_LANGUAGE = {
    "English": """a about above after all also an and any are as at be because been before being
        below between both but by can could did do does each for from given had has have he her his
        how i if in into is it its may more most must not of on one only or other our over please
        she should so some such than that the their them then there these they this those to up us
        was we were what when where which while who why will with would you your""",
    "German": """aber als also am an auch auf aus bei beim das dass dein dem den der des die diese
        dieser dieses durch ein eine einem einen einer eines er es für hat haben ich ihr im in ist
        kann man mit nach nicht noch oder sehr sein sich sie sind über um und uns vom von vor war
        was wenn wer werden wie wird wir zu zum zur""",
    "French": """à au aux avec ce ces cette comme d dans de des du elle en est et eux il ils je l
        la le les leur lui mais ne nous on ou où par pas plus pour qu que qui sa se ses son sont
        sur une un vous y""",
    "Spanish": """al como con cual cuando de del el ella en entre es esta este esto fue ha hay la
        las le les lo los más me muy no nos o para pero por que se si sin sobre son su sus también
        un una uno y ya""",
    "Portuguese": """a à ao aos as às com como da das de do dos e é ela ele em entre foi há isso
        mais mas me muito na não nas no nos o os ou para pela pelo por que se sem seu sua são
        também um uma""",
    "Italian": """a al alla anche che chi ci come con da dal del della delle di e è gli i il in la
        le lo ma nel nella non o per più quando questo se si sono su un una""",
    "Dutch": """aan als bij dat de deze die dit door een en er het hij ik in is je maar met naar
        niet nog of om ook op te tot uit van voor was wat wij worden ze zijn""",
    "Russian": """а без был была были было быть в во все для до его ее если есть же за и из или их
        к как когда мы на не но о об он она они от по при с со так также то у что это я""",
    "Arabic": """أو إلى إن الذي التي أن عن على في كان كانت كل لا ما مع من هذا هذه هو هي و ثم قد""",
    "Hindi": """और का की के को में से है हैं था थी थे पर ने यह वह इस उस एक भी तो ही हो कर लिए या""",
}
FUNCTION_WORDS: frozenset[str] = frozenset(
    word for words in _BY_LANGUAGE.values() for word in words.split()
)

GERMAN = frozenset(_BY_LANGUAGE["German"].split()) - frozenset(_BY_LANGUAGE["English"].split())

# Spelled numbers by their value; ordinals and shares are numbers too, where they stand for one.
_NUMERALS = {
    "0": "zero null zéro cero ноль शून्य",
    "1": "one first once single eins ein eine einen einem einer erste ersten un une uno una um uma "
    "один одна одно первый واحد एक",
    "2": "two second twice both pair couple double twofold half halves zwei zweite zweiten zweimal "
    "beide beiden deux dos dois duas два две двух оба second اثنان दो",
    "3": "three third thirds thrice triple drei dritte trois tres três три трёх трех ثلاثة ثلاث "
    "तीन",
    "4": "four fourth fourths quarter quarters vier quatre cuatro quatro четыре أربعة أربع चार",
    "5": "five fifth fifths fünf cinq cinco пять خمسة خمس पाँच पांच",
    "6": "six sixth sixths sechs seis шесть ستة ست छह छः",
    "7": "seven seventh week sieben sept siete sete семь سبعة سبع सात",
    "8": "eight eighth eighths acht huit ocho oito восемь ثمانية ثمان आठ",
    "9": "nine ninth neun neuf nueve nove девять تسعة تسع नौ",
    "10": "ten tenth tenths zehn dix diez dez decade десять عشرة عشر दस",
    "11": "eleven eleventh elf onze одиннадцать",
    "12": "twelve twelfth dozen zwölf douze doce doze двенадцать noon midday",
    "13": "thirteen thirteenth dreizehn treize trece treze",
    "14": "fourteen fourteenth fortnight vierzehn quatorze catorce",
    "15": "fifteen fifteenth fünfzehn quinze quince",
    "16": "sixteen sixteenth sixteenths sechzehn seize dieciséis dezesseis",
    "17": "seventeen seventeenth siebzehn",
    "18": "eighteen eighteenth achtzehn",
    "19": "nineteen nineteenth neunzehn",
    "20": "twenty twentieth zwanzig vingt veinte vinte двадцать",
    "24": "day",
    "30": "thirty dreißig trente treinta trinta тридцать",
    "40": "forty vierzig quarante quarantaine cuarenta quarenta сорок",
    "50": "fifty half fünfzig cinquante cincuenta cinquenta пятьдесят",
    "60": "sixty sechzig soixante sesenta sessenta hour minute",
    "70": "seventy siebzig",
    "80": "eighty achtzig",
    "90": "ninety neunzig",
    "100": "hundred hundert cent cien cem сто century percent",
    "1000": "thousand tausend mille mil тысяча millennium",
    "1000000": "million millionen millón milhão",
    "0.5": "half halb halbe halbes moitié mitad metade",
    "0.25": "quarter",
    "0.75": "quarters",
}
_MONTHS = (
    "january jan",
    "february feb",
    "march mar",
    "april apr",
    "may",
    "june jun",
    "july jul",
    "august aug",
    "september sep",
    "october oct",
    "november nov",
    "december dec",
)


def _read_numerals() -> dict[str, tuple[str, ...]]:
    values: dict[str, tuple[str, ...]] = {}
    months = {str(number): names for number, names in enumerate(_MONTHS, 1)}
    for value, words in (*_NUMERALS.items(), *months.items()):
        for word in words.split():
            values[word] = (*values.get(word, ()), value)
    return values


# A word may stand for several numbers: half is 0.5 and, in 1/2, the 2.
NUMERALS = _read_numerals()

# Words that count: not those that also put in order, divide or name a time.
_CARDINALS = """one two three four five six seven eight nine ten eleven twelve thirteen fourteen
fifteen sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety
hundred zwei drei vier fünf sechs sieben acht neun zehn zwölf zwanzig deux trois quatre cinq sept
huit neuf dix dos tres cuatro cinco seis siete ocho nueve diez dois três quatro oito nove dez два
две три четыре пять шесть семь восемь девять десять दो तीन चार पाँच छह सात आठ नौ दस"""
CARDINALS = frozenset(_CARDINALS.split())
_TENS = {
    word: value
    for value in range(20, 100, 10)
    for word in _NUMERALS.get(str(value), "").split()
    if word not in ("half", "hour", "minute")
}
_ONES = {word: value for value in range(1, 10) for word in _NUMERALS[str(value)].split()}
_HUNDREDS = frozenset(("hundred", "hundert", "cent", "cien", "ciento", "cem", "сто"))


def spell_out(words: Set[str]) -> set[str]:
    """The numbers below a thousand that several of `words` may spell together: forty-five.

    In whatever order they stand, so that there are more of them than any text means.
    """
    tens = {_TENS[word] for word in words & _TENS.keys()}
    has_hundreds = not words.isdisjoint(_HUNDREDS)
    if not tens and not has_hundreds:
        return set()
    ones = {_ONES[word] for word in words & _ONES.keys()}
    small = {ten + one for ten in tens for one in ones}
    if has_hundreds:
        small |= {100 * one + rest for one in ones for rest in small | tens | ones | {0}}
    return set(map(str, small))
