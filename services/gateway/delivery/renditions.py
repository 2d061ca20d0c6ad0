"""Sound tracks as HLS renditions (RFC 8216, 4.3.4.1): a recording with several is shown with each track apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from services.gateway.delivery.codecs import codecs_of
from services.gateway.delivery.index.entries import IndexEntry
from services.gateway.delivery.parts import Delivery
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


PICTURES: Final = "v"
"""The part of a recording that has its pictures alone; a sound track's is `a` and its id."""
PARTS: Final = "v|a[2-5]"


@dataclass(frozen=True, slots=True)
class Sound:
    """A sound track and its playlist's URI."""

    track: TrackConfig
    uri: str


async def only_tracks(delivery: Delivery, entries: Sequence[IndexEntry], part: str) -> Mapping[str, int]:
    """Return which track of each init segment a part is; where its sound track is not, it is the first one."""
    found: dict[str, int] = {}
    for key in dict.fromkeys(entry.init_key for entry in entries) if part else ():
        tracks = await delivery.tracks_of(key)
        wanted = next((track.track_id for track in tracks if track.kind == "video"), None)
        if part != PICTURES:
            numbers = [track.track_id for track in tracks if track.kind == "audio"]
            wanted = int(part[1:]) if int(part[1:]) in numbers else next(iter(numbers), None)
        if wanted is not None:
            found[key] = wanted
    return found


def with_sounds(variants: Sequence[Variant]) -> str | None:
    """Return the multivariant playlist of pictures, which come best first, with the sounds that go with them.

    None where there is one sound alone, which then stays with the pictures. Sounds of one codec are a group, and each
    variant stands once for each group: a player leaves out those whose codecs it does not know. The first sound of a
    group is its default, and what plays where there are no pictures.
    """
    best = variants[0]
    tracks = [track for track in best.tracks if track.kind == "audio"]
    if len(tracks) <= 1:
        return None
    sounds = [Sound(track, _part(best.uri, f"a{track.track_id}")) for track in tracks]
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
        for number, (codec, group) in enumerate(groups.items(), 1)
        for variant in (_pictures(variants) or [replace(best, uri=group[0].uri, codecs="")])
    ]
    return variant_lines(lines, media)


def _pictures(variants: Sequence[Variant]) -> list[Variant]:
    """Return the variants that have pictures, without their sound."""
    return [
        replace(
            variant,
            uri=_part(variant.uri, PICTURES),
            codecs=codecs_of(track for track in variant.tracks if track.kind == "video"),
        )
        for variant in variants
        if variant.width
    ]


def _part(uri: str, part: str) -> str:
    name, dot, query = uri.partition(".m3u8")
    return f"{name}-{part}{dot}{query}"


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
