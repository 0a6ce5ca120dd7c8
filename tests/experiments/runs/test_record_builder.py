"""What is measured for a record."""

from encoder_ablations.engine.cost import flops
from encoder_ablations.engine.cost.measure import measure_cost
from encoder_ablations.engine.training.state import Progress
from encoder_ablations.experiments.runs.model import build_model
from encoder_ablations.experiments.runs.record_builder import cost_record


def test_flops_are_counted_once_for_all_seeds(make_spec, monkeypatch):
    counted, count = [], flops.count_flops
    monkeypatch.setattr(flops, "_counted", {})
    monkeypatch.setattr(flops, "count_flops", lambda *of: counted.append(of) or count(*of))
    specs = [make_spec(0), make_spec(1), make_spec(0, ("a", "b", "c", "d"))]
    models = [build_model(spec) for spec in specs]
    same, again, larger = [
        cost_record(model, spec, Progress(metric="miou"))
        for model, spec in zip(models, specs, strict=True)
    ]
    assert len(counted) == 2
    assert same.flops_by_part == again.flops_by_part
    assert larger.flops > same.flops
    assert again.flops_by_part == measure_cost(models[1], (64, 64), (1,), 0.0).flops_by_part
