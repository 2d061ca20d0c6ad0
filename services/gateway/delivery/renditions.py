"""Sound tracks as HLS renditions (RFC 8216, 4.3.4.1): a recording with several is shown with each track apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from services.gateway.delivery.codecs import codecs_of
from services.gateway.delivery.playlists import Variant, variant_lines
from shared.media.tracks import TrackConfig

# RFC 5646 wants the shortest code of a language; MPEG-TS and MP4 have three letters (ISO 639-2, both forms).
LANGUAGES: Final = {
    "ara": ("ar", "Arabic"), "bul": ("bg", "Bulgarian"), "cat": ("ca", "Catalan"), "ces": ("cs", "Czech"),
    "chi": ("zh", "Chinese"), "cze": ("cs", "Czech"), "dan": ("da", "Danish"), "deu": ("de", "German"),
    "dut": ("nl", "Dutch"), "ell": ("el", "Greek"), "eng": ("en", "English"), "est": ("et", "Estonian"),
    "eus": ("eu", "Basque"), "fin": ("fi", "Finnish"), "fra": ("fr", "French"), "fre": ("fr", "French"),
    "ger": ("de", "German"), "gle": ("ga", "Irish"), "glg": ("gl", "Galician"), "gre": ("el", "Greek"),
    "heb": ("he", "Hebrew"), "hin": ("hi", "Hindi"), "hrv": ("hr", "Croatian"), "hun": ("hu", "Hungarian"),
    "ind": ("id", "Indonesian"), "isl": ("is", "Icelandic"), "ita": ("it", "Italian"), "jpn": ("ja", "Japanese"),
    "kor": ("ko", "Korean"), "lav": ("lv", "Latvian"), "lit": ("lt", "Lithuanian"), "nld": ("nl", "Dutch"),
    "nor": ("no", "Norwegian"), "pol": ("pl", "Polish"), "por": ("pt", "Portuguese"), "ron": ("ro", "Romanian"),
    "rum": ("ro", "Romanian"), "rus": ("ru", "Russian"), "slk": ("sk", "Slovak"), "slv": ("sl", "Slovenian"),
    "spa": ("es", "Spanish"), "sqi": ("sq", "Albanian"), "srp": ("sr", "Serbian"), "swe": ("sv", "Swedish"),
    "tha": ("th", "Thai"), "tur": ("tr", "Turkish"), "ukr": ("uk", "Ukrainian"), "vie": ("vi", "Vietnamese"),
    "zho": ("zh", "Chinese"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sound:
    """A sound track and its playlist's URI."""

    track: TrackConfig
    uri: str


def with_sounds(variants: Sequence[Variant], sounds: Sequence[Sound]) -> str:
    """Return the multivariant playlist of pictures, which come best first, with the sounds that go with them.

    Sounds of one codec are a group, and each variant stands once for each group: a player leaves out those whose codecs
    it does not know. The first sound of a group is its default.
    """
    groups: dict[str, list[Sound]] = {}
    for sound in sounds:
        groups.setdefault(codecs_of([sound.track]), []).append(sound)
    names = _names(sounds)
    media = [
        _media(f"sound-{number}", sound, names[sounds.index(sound)], default=not place)
        for number, group in enumerate(groups.values(), 1)
        for place, sound in enumerate(group)
    ]
    lines = [
        replace(variant, codecs=",".join(filter(None, (variant.codecs, codec))), group=f"sound-{number}")
        for number, codec in enumerate(groups, 1)
        for variant in variants
    ]
    return variant_lines(lines, media)


def _names(sounds: Sequence[Sound]) -> list[str]:
    """Return names for people, no two alike (4.3.4.1.1)."""
    found: list[str] = []
    for number, sound in enumerate(sounds, 1):
        language = sound.track.language
        name = LANGUAGES.get(language, ("", language))[1] or f"Sound {number}"
        found.append(name if name not in found else f"{name} ({number})")
    return found


def _media(group: str, sound: Sound, name: str, *, default: bool) -> str:
    language = LANGUAGES.get(sound.track.language, (sound.track.language, ""))[0]
    fields = ["TYPE=AUDIO", f'GROUP-ID="{group}"', f'NAME="{name}"']
    fields += [f'LANGUAGE="{language}"'] if language else []
    fields += [f"DEFAULT={'YES' if default else 'NO'}", "AUTOSELECT=YES", f'CHANNELS="{sound.track.channels}"']
    return f'#EXT-X-MEDIA:{",".join(fields)},URI="{sound.uri}"'
