"""What a label is called in a DICOM segmentation: its name, its codes of a terminology and its colour."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydicom.sr.codedict import codes

from napari_medicosam.core.label_classes import LabelClasses, default_colour
from napari_medicosam.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydicom.sr.coding import Code

    from napari_medicosam.core.label_classes import Colour

CodeTriple = tuple[str, str, str]
"""Value, coding scheme and meaning: ("10200004", "SCT", "Liver")."""

_CODE_LENGTHS = (16, 16, 64)
_NAME_LENGTH = 64
"""Characters that DICOM lets the three texts of a code, and a segment's label, have."""

_sct: Any = codes.SCT  # its attributes are looked up in tables


def _triple(code: Code) -> CodeTriple:
    return str(code.value), str(code.scheme_designator), str(code.meaning)


TISSUE = _triple(_sct.Tissue)
"""Category and type of what nothing more is known about."""

_ANATOMICAL = _triple(_sct.AnatomicalStructure)
_ABNORMAL = _triple(_sct.MorphologicallyAbnormalStructure)

_ANATOMY: dict[str, Code] = {
    "liver": _sct.Liver,
    "spleen": _sct.Spleen,
    "kidney": _sct.Kidney,
    "lung": _sct.Lung,
    "heart": _sct.Heart,
    "aorta": _sct.Aorta,
    "brain": _sct.Brain,
    "pancreas": _sct.Pancreas,
    "stomach": _sct.Stomach,
    "gallbladder": _sct.Gallbladder,
    "gall bladder": _sct.Gallbladder,
    "esophagus": _sct.Esophagus,
    "oesophagus": _sct.Esophagus,
    "bladder": _sct.Bladder,
    "urinary bladder": _sct.Bladder,
    "prostate": _sct.Prostate,
    "uterus": _sct.Uterus,
    "breast": _sct.Breast,
    "trachea": _sct.Trachea,
    "duodenum": _sct.Duodenum,
    "colon": _sct.Colon,
    "rectum": _sct.Rectum,
    "small intestine": _sct.SmallIntestine,
    "small bowel": _sct.SmallIntestine,
    "adrenal gland": _sct.AdrenalGland,
    "thyroid": _sct.Thyroid,
    "inferior vena cava": _sct.InferiorVenaCava,
    "portal vein": _sct.PortalVein,
    "spinal cord": _sct.SpinalCord,
    "hippocampus": _sct.Hippocampus,
    "eye": _sct.Eye,
    "bone": _sct.Bone,
    "vertebra": _sct.Vertebra,
    "femur": _sct.Femur,
    "rib": _sct.Rib,
    "lymph node": _sct.LymphNode,
    "skin": _sct.Skin,
}
_ABNORMALITIES: dict[str, Code] = {
    "tumor": _sct.Tumor,
    "tumour": _sct.Tumor,
    "neoplasm": _sct.Neoplasm,
    "lesion": _sct.Lesion,
    "mass": _sct.Mass,
    "nodule": _sct.Nodule,
    "cyst": _sct.Cyst,
    "edema": _sct.Edema,
    "oedema": _sct.Edema,
    "necrosis": _sct.Necrosis,
    "hemorrhage": _sct.Hemorrhage,
    "haemorrhage": _sct.Hemorrhage,
    "thrombus": _sct.Thrombus,
}


@dataclass(frozen=True, slots=True)
class Segment:
    """What is written about one label.

    Args:
        name: not empty; what viewers show. Longer names than 64 characters are cut.
        category: a code such as ("91723000", "SCT", "Anatomical Structure").
        kind: a code of what it is, such as ("10200004", "SCT", "Liver").
        colour: (red, green, blue) 0..255 that viewers are told to show it in; None leaves it to them.

    Raises:
        InputError: for an empty name, or a code that is not three texts as short as DICOM wants them.
    """

    name: str
    category: CodeTriple = TISSUE
    kind: CodeTriple = TISSUE
    colour: Colour | None = None

    def __post_init__(self) -> None:
        # A backslash would end the value and begin another one; line breaks are not allowed in it.
        name = " ".join(self.name.replace("\\", "/").split())[:_NAME_LENGTH].strip()
        if not name:
            raise InputError(f"a segment needs a name that is not empty, got {self.name!r}")
        object.__setattr__(self, "name", name)
        _check_code("category", self.category)
        _check_code("kind", self.kind)

    @classmethod
    def named(cls, name: str, colour: Colour | None = None) -> Segment:
        """A segment with the SNOMED CT codes of common organs and findings, known by their English names.

        "left" and "right" are no part of a code, and stay in the name. Any other name is coded as tissue.
        """
        words = [word for word in re.split(r"[\s_-]+", name.lower()) if word not in ("", "left", "right")]
        known = " ".join(words)
        if known in _ANATOMY:
            return cls(name, _ANATOMICAL, _triple(_ANATOMY[known]), colour)
        if words and words[-1] in _ABNORMALITIES:  # a "liver tumour" is a tumour
            return cls(name, _ABNORMAL, _triple(_ABNORMALITIES[words[-1]]), colour)
        return cls(name, colour=colour)


LabelNames = LabelClasses | Mapping[int, Segment | str]
"""What labels are called: classes by their ids; segments or names by label."""


def segments_of(labels: Iterable[int], classes: LabelNames | None) -> dict[int, Segment]:
    """What each of `labels` is called; one that `classes` does not have is "label 5"."""
    known: Mapping[int, Segment | str] = {}
    if isinstance(classes, LabelClasses):
        known = {item.class_id: Segment.named(item.name, item.colour) for item in classes}
    elif classes is not None:
        known = classes
    segments = {}
    for label in labels:
        segment = known.get(label, f"label {label}")
        segments[label] = (
            Segment.named(segment, default_colour(label)) if isinstance(segment, str) else segment
        )
    return segments


def _check_code(role: str, code: CodeTriple) -> None:
    texts = code if isinstance(code, tuple) and len(code) == 3 else ("", "", "")
    if not all(
        isinstance(text, str) and 0 < len(text) <= most
        for text, most in zip(texts, _CODE_LENGTHS, strict=True)
    ):
        raise InputError(
            f"the {role} of a segment must be (value, scheme, meaning), texts of at most "
            f"{', '.join(map(str, _CODE_LENGTHS))} characters, got {code!r}"
        )
