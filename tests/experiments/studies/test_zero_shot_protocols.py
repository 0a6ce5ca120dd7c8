"""The studies of published protocols of segmentation by texts."""

import pytest

from encoder_ablations.encoders.text.templates import IMAGENET, TEMPLATES
from encoder_ablations.experiments.studies.study import load_study_spec, plan
from encoder_ablations.segmenters.zero_shot.queries import check_queries
from encoder_ablations.segmenters.zero_shot.spec import ZeroShotSpec

FAMILY = ("voc21", "voc20", "context60", "context59", "coco_stuff", "ade20k", "cityscapes")
AERIAL = ("potsdam", "vaihingen", "loveda", "openearthmap")
PUBLISHED = {
    "voc21": {"SCLIP": 59.6, "NACLIP + PAMR": 64.1, "CorrCLIP (attention)": 74.8},
    "voc20": {"SCLIP": 81.5, "NACLIP + PAMR": 83.0},
    "context60": {"SCLIP": 31.7, "NACLIP + PAMR": 35.0},
    "context59": {"SCLIP": 34.5, "NACLIP + PAMR": 38.4},
    "coco_stuff": {"SCLIP": 22.8, "NACLIP + PAMR": 25.7},
    "ade20k": {
        "SCLIP": 16.5,
        "NACLIP + PAMR": 19.1,
        "CorrCLIP (attention)": 26.9,
        "patches and texts": 17.4,
    },
    "cityscapes": {"SCLIP": 32.3, "NACLIP + PAMR": 38.3, "CorrCLIP (attention)": 49.4},
    "potsdam": {"SegEarth-OV (attention)": 48.5},
    "vaihingen": {"SegEarth-OV (attention)": 40.0},
    "loveda": {"SegEarth-OV (attention)": 36.9},
    "openearthmap": {"SegEarth-OV (attention)": 40.3},
}


def heads(name):
    """The settings of a study's heads by their titles, and its dataset."""
    runs = plan(load_study_spec(f"zero_shot_{name}"))
    found = {run.segmenter.title: ZeroShotSpec.model_validate(own(run)) for run in runs}
    return found, runs[0].dataset


def own(run):
    given = run.segmenter.model_dump(mode="json")
    return {key: value for key, value in given.items() if key in ZeroShotSpec.model_fields}


@pytest.mark.parametrize("name", [*FAMILY, *AERIAL])
def test_every_class_has_texts(name):
    found, dataset = heads(name)
    for spec in found.values():
        check_queries(spec.queries, len(dataset.classes), spec.background)


@pytest.mark.parametrize("name", [*FAMILY, *AERIAL])
def test_runs_are_without_labels_and_have_the_published_scores(name):
    study = load_study_spec(f"zero_shot_{name}")
    assert {(run.fraction, run.seed) for run in plan(study)} == {(0, 0)}
    assert {score.segmenter: score.miou for score in study.published} == PUBLISHED[name]
    assert {score.fraction for score in study.published} == {0}


@pytest.mark.parametrize("name", FAMILY)
def test_protocol_of_sclips_family(name):
    """wangf3014/SCLIP and sinahmr/NACLIP, configs/cfg_*.py."""
    found, dataset = heads(name)
    sclip, naclip = found["SCLIP"], found["NACLIP + PAMR"]
    side = 560 if name == "cityscapes" else 336
    assert (naclip.short_side, naclip.long_side, naclip.scale) == (side, 2048, 40)
    assert naclip.window == (None if name.startswith("voc") else 224)
    assert (sclip.window, sclip.stride) == (224, 112)
    assert sclip.scale == {"voc21": 65, "context60": 50}.get(name, 40)
    assert sclip.short_side == {"coco_stuff": 448}.get(name, side)
    assert (naclip.refine.steps, naclip.refine.dilations, sclip.refine) == (10, (8, 16), None)
    for spec in (sclip, naclip):
        assert (spec.synonyms, spec.averaged, spec.text.templates) == ("max", "scores", "imagenet")
        has_background = dataset.classes[0] == "background"
        assert (spec.background, spec.threshold) == ((0, 0.1) if has_background else (None, 0))


@pytest.mark.parametrize("name", AERIAL)
def test_protocol_of_segearth(name):
    """likyoo/SegEarth-OV, configs/cfg_*.py."""
    found, dataset = heads(name)
    spec = found["SegEarth-OV (attention)"]
    assert (spec.short_side, spec.long_side, spec.window, spec.stride) == (448, 448, 224, 112)
    assert (spec.scale, spec.switches.class_token) == (50, -0.3)
    assert spec.threshold == {"loveda": 0.3}.get(name, 0.1)
    assert dataset.classes[spec.background] in ("background", "clutter")


def test_texts_are_those_of_the_published_files():
    voc, dataset = heads("voc21")
    queries = voc["SCLIP"].queries
    assert len(queries) == 26 + 18 + 7 + 5
    for text, name in (("ship", "boat"), ("fence", "background"), ("screen", "tvmonitor")):
        assert dataset.classes[queries[text]] == name
    ade = heads("ade20k")[0]["SCLIP"].queries
    assert (ade["windowpane"], ade["chestofdrawers"], ade["flag"]) == (8, 44, 149)
    stuff = heads("coco_stuff")[0]["SCLIP"].queries
    assert (stuff["trafficlight"], stuff["wood"], len(stuff)) == (9, 170, 171)
    aerial, loveda = heads("loveda")
    queries = aerial["SegEarth-OV (attention)"].queries
    assert loveda.classes[queries["agricultural"]] == "agriculture"
    assert {loveda.classes[queries[text]] for text in ("roof", "house")} == {"building"}


def test_tipsv2_has_the_prompts_of_its_notebook():
    spec = heads("ade20k")[0]["patches and texts"]
    assert len(spec.text.templates) == 9
    assert len(set(spec.text.templates) - set(TEMPLATES["imagenet"])) == 1
    assert "a photo of many {}." in IMAGENET
    assert (spec.window, spec.stride, spec.averaged, spec.scale) == (448, 336, "probabilities", 1)
