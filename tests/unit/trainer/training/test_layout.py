import pytest

torch = pytest.importorskip("torch")

from trainer.backbones import build_backbone
from trainer.training import layout
from trainer.training.layout import choose_layout, step_of
from trainer.training.recipe import read_recipe

CPU = torch.device("cpu")
LONG = ("run.steps=100000", "run.batch=4", "run.precision=f32", "backbone.size=16")


def recipe_of(*settings):
    return read_recipe("tiny", ["run.channels_last=auto", *LONG, *settings])


def choose(recipe, place=CPU, then=None):
    chosen, reason = choose_layout(recipe, place, then or {})
    assert isinstance(chosen.run.channels_last, bool)
    unchanged = chosen.model_dump(exclude={"run": {"channels_last"}})
    assert unchanged == recipe.model_dump(exclude={"run": {"channels_last"}})
    return chosen.run.channels_last, reason


@pytest.mark.parametrize("is_last", [True, False])
def test_a_recipe_that_names_a_layout_has_it(is_last):
    settings = (f"run.channels_last={str(is_last).lower()}",)
    assert choose(recipe_of(*settings)) == (is_last, "as the recipe says")


@pytest.mark.parametrize("is_last", [True, False])
def test_a_resumed_run_keeps_its_layout(is_last):
    before = recipe_of(f"run.channels_last={str(is_last).lower()}")
    found = choose(recipe_of(), then={"recipe": before.model_dump_json()})
    assert found == (is_last, "as before")


def test_short_runs_and_gpus_are_not_measured():
    assert choose(recipe_of("run.steps=100")) == (True, "the run is too short to measure it")
    assert choose(recipe_of(), torch.device("cuda"))[0] is True


@pytest.mark.parametrize(
    ("contiguous", "last", "expected"), [(20.0, 10.0, False), (10.4, 10.0, True), (5.0, 10.0, True)]
)
def test_the_faster_layout_is_chosen_and_both_figures_named(
    contiguous, last, expected, monkeypatch
):
    monkeypatch.setattr(layout, "_images_per_s", lambda recipe: (contiguous, last))
    found, reason = choose(recipe_of())
    assert found is expected
    assert f"{last:.1f} images a CPU second in channels_last, {contiguous:.1f} in con" in reason


def test_measuring_changes_no_random_number():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    _, reason = choose(recipe_of())
    assert "measured with batches of 4" in reason
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("is_last", [True, False])
def test_a_step_runs_in_its_layout_and_leaves_no_gradient(is_last):
    backbone = build_backbone("m025", size=16)
    convolution = next(m for m in backbone.modules() if isinstance(m, torch.nn.Conv2d))
    seen = []
    convolution.register_forward_hook(lambda layer, inputs, output: seen.append(output))
    step_of(backbone, 2, "f32", channels_last=is_last)()
    wanted = torch.channels_last if is_last else torch.contiguous_format
    assert seen[0].is_contiguous(memory_format=wanted)
    assert all(parameter.grad is None for parameter in backbone.parameters())
