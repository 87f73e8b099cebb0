import numpy as np
import pytest

torch = pytest.importorskip("torch")

from trainer.errors import RecipeError
from trainer.training.distill import DistillHead


def mean_colour(crops):
    """Stand for a teacher: three numbers that blends and warps of a crop change."""
    return crops.mean(axis=(1, 2)).astype(np.float32) - 100


def head_of(blend=0.0, warp=0.0, teacher=mean_colour):
    torch.manual_seed(0)
    return DistillHead(teacher, blend=blend, warp=warp)


def faces():
    flat = torch.tensor([[250.0, 0, 0], [0, 250, 0], [0, 0, 250], [100, 100, 100]])
    return flat[:, None, None].expand(4, 112, 112, 3)


def test_the_loss_is_one_less_the_cosine_and_pulls_towards_the_teacher():
    head, pixels = head_of(), faces().to(torch.uint8)
    wanted = torch.from_numpy(mean_colour(pixels.numpy()))
    assert head(3 * wanted[:3], pixels[:3]).loss.item() == pytest.approx(0, abs=1e-6)
    assert head(-wanted[:3], pixels[:3]).loss.item() == pytest.approx(2, abs=1e-6)
    student = torch.ones(3, 3, requires_grad=True)
    before = head(student, pixels[:3])
    before.loss.backward()
    after = head(student.detach() - student.grad, pixels[:3])
    assert after.accuracy > before.accuracy


def test_without_variation_pixels_are_only_rounded():
    pixels = torch.tensor([-3.0, 0.4, 99.6, 300.0]).view(1, 2, 2, 1).expand(1, 2, 2, 3)
    varied = head_of().vary(pixels)
    assert varied[0, :, :, 0].flatten().tolist() == [0, 0, 100, 255]


def test_blends_keep_the_larger_part_of_their_own_face():
    varied = head_of(blend=1).vary(faces()[:3])
    assert not torch.equal(varied, faces()[:3])
    assert varied[:, 0, 0].argmax(dim=1).tolist() == [0, 1, 2]
    torch.testing.assert_close(varied.sum(dim=-1), torch.full((3, 112, 112), 250.0), atol=1, rtol=0)


def test_warps_move_pixels_by_about_as_much_as_is_asked():
    columns = torch.arange(112.0) * 2
    ramp = columns.view(1, 1, 112, 1).expand(16, 112, 112, 3)
    assert torch.equal(head_of().vary(ramp), ramp)
    moved = (head_of(warp=2).vary(ramp) - ramp)[:, 20:-20, 20:-20] / 2  # pixels to the side
    assert 0.8 < moved.std() < 2.5


def test_the_same_generator_gives_the_same_variation():
    a, b = (head_of(blend=0.5, warp=2).vary(faces()) for _ in range(2))
    assert torch.equal(a, b)


def test_another_size_than_the_teacher_says_what_to_set():
    with pytest.raises(RecipeError, match=r"have 3 numbers: set backbone\.size = 3"):
        head_of()(torch.ones(4, 5), faces())
