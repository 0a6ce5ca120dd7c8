import pytest

from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.utils.config import build, merge, parse_overrides, read_yaml
from encoder_ablations.utils.errors import InputError


def test_layers_win_from_the_right():
    content = merge(
        {"steps": 5, "optimizer": {"lr": 1.0, "weight_decay": 0.1}},
        parse_overrides(["optimizer.lr=0.5"]),
    )
    recipe = build(Recipe, content, "here")
    assert (recipe.steps, recipe.optimizer.lr, recipe.optimizer.weight_decay) == (5, 0.5, 0.1)
    assert recipe.batch_size == Recipe().batch_size


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"stepz": 5},
            r"file\.yaml: unknown key 'stepz'\. Did you mean 'steps'\? Allowed: accumulation, ",
        ),
        (
            {"optimizer": {"learning": 1}},
            r"unknown key 'optimizer\.learning'.*Allowed: betas, clip_norm, encoder_lr_mult",
        ),
        ({"steps": 0}, r"'steps': input should be greater than or equal to 1 \(given: 0\)"),
        (
            {"precision": "fp8"},
            r"'precision': input should be 'fp32', 'tf32', 'bf16' or 'fp16' \(given: 'fp8'\)",
        ),
        ({"batch_size": 3, "accumulation": 2}, "batch_size 3 is not a multiple of accumulation 2"),
        ({"schedule": {"warmup_steps": 10}, "steps": 10}, "must be less than steps 10"),
        ({"augmentation": {"scale": [2, 1]}}, r"scale is a range"),
    ],
)
def test_errors_teach(content, message):
    with pytest.raises(InputError, match=message):
        build(Recipe, content, "file.yaml")


def test_yaml_files(tmp_path):
    path = tmp_path / "x.yaml"
    with pytest.raises(InputError, match=r"cannot read .*x\.yaml: No such file"):
        read_yaml(path)
    path.write_text("a: [")
    with pytest.raises(InputError, match="not a valid YAML"):
        read_yaml(path)
    path.write_text("- a")
    with pytest.raises(InputError, match="expected 'key: value' lines, found list"):
        read_yaml(path)
    path.write_text("")
    assert read_yaml(path) == {}


def test_overrides():
    assert parse_overrides(["a.b=1", "a.c=[1, 2]", "d=x"]) == {"a": {"b": 1, "c": [1, 2]}, "d": "x"}
    with pytest.raises(InputError, match=r"key\.sub=value"):
        parse_overrides(["steps"])
