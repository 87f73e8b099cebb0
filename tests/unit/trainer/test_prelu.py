import pytest

torch = pytest.importorskip("torch")

from torch import nn

from trainer.backbones.prelu import PReLU


@pytest.mark.parametrize("slopes", [1, 8])
@pytest.mark.parametrize("shape", [(3, 8), (0, 8, 4, 4), (3, 8, 5, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_it_is_torchs_forward_and_backward(slopes, shape, dtype, layout):
    torch.manual_seed(0)
    values = torch.randn(shape).to(dtype)
    values.flatten()[::7] = 0  # the kink belongs to the slope
    if len(shape) == 4:
        values = values.contiguous(memory_format=layout)
    results = []
    for make in (nn.PReLU, PReLU):
        layer = make(slopes, 0.25)
        x = values.clone().requires_grad_()
        y = layer(x) if dtype == torch.float32 else torch.prelu(x, layer.weight.to(dtype))
        y = layer(x) if make is PReLU else y
        y.backward(torch.ones_like(y) * 0.5)
        results.append((y.detach(), x.grad, layer.weight.grad))
    expected, actual = results
    for a, b in zip(actual[:2], expected[:2], strict=True):
        assert torch.equal(a, b)
        assert a.dtype == b.dtype
    # the slope's gradient is a sum, whose order differs
    torch.testing.assert_close(actual[2], expected[2], rtol=1e-2, atol=1e-5)


def test_it_has_a_gradient_of_its_own_when_it_is_checked_by_numbers():
    layer = PReLU(3, 0.25).double()
    x = torch.randn(2, 3, 4, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: layer(x), (x,))


def test_it_embeds_in_inference_mode():
    layer = PReLU(3, 0.25)
    with torch.inference_mode():
        assert layer(torch.full((1, 3), -1.0)).tolist() == [[-0.25] * 3]
