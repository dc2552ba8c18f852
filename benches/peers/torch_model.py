"""The model family and its training step in PyTorch, for comparison. Weights are in Keras' shapes and order."""

import torch
import torch.nn.functional as F
from torch import nn

EPSILON = 1e-5


def make_divisible(value):
    rounded = max(8, int(value + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * value else rounded


def same_padding(length, taps, stride):
    total = max((-(-length // stride) - 1) * stride + taps - length, 0)
    return total // 2, total - total // 2


class Conv(nn.Module):
    def __init__(self, inputs, outputs, taps, stride=1, groups=1, bias=True):
        super().__init__()
        # Of even lengths, which the family's are: with stride 2, one more zero after than before.
        before, after = same_padding(2 * taps, taps, stride)
        self.extra = after - before
        self.conv = nn.Conv1d(inputs, outputs, taps, stride, padding=before, groups=groups, bias=bias)

    def forward(self, x):
        return self.conv(F.pad(x, (0, self.extra)) if self.extra else x)


class LayerNorm(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norm = nn.LayerNorm(channels, EPSILON)

    def forward(self, x):
        return self.norm(x.transpose(1, 2)).transpose(1, 2)


def batch_norm(channels):
    return nn.BatchNorm1d(channels, EPSILON, momentum=0.01)


def build_encoder(base, stages, channels, dim):
    layers, inputs, filters = [], channels, base
    for stage in range(stages):
        if stage < 2:
            layers.append(Conv(inputs, filters, 7, 2))
        else:
            layers += [Conv(inputs, inputs, 7, 2, groups=inputs), batch_norm(inputs), nn.ReLU()]
            layers.append(Conv(inputs, filters, 1))
        layers += [batch_norm(filters), nn.ReLU()]
        inputs, filters = filters, make_divisible(filters * 1.25)
    layers.append(Conv(inputs, dim, 1))
    return nn.Sequential(*layers)


def build_decoder(base, stages, channels, dim):
    layers, inputs, filters = [], dim, make_divisible(base * 1.25 ** (stages - 1))
    for _ in range(stages):
        layers += [nn.Upsample(scale_factor=2, mode="nearest"), Conv(inputs, filters, 7), nn.ReLU()]
        layers += [Conv(filters, filters, 5, groups=filters, bias=False), Conv(filters, filters, 1), nn.ReLU()]
        inputs, filters = filters, make_divisible(filters / 1.25)
    layers += [LayerNorm(inputs), Conv(inputs, channels, 1)]
    return nn.Sequential(*layers)


def keras_tensors(network):
    """The trained tensors of a network in Keras' order, each with the way to Keras' shape."""
    for module in network.modules():
        if isinstance(module, nn.Conv1d):
            # [outputs, inputs / groups, taps] to [1, taps, inputs, outputs]; depthwise [1, taps, channels, 1].
            if module.groups > 1:
                yield module.weight, lambda w: w.permute(2, 0, 1).unsqueeze(0)
            else:
                yield module.weight, lambda w: w.permute(2, 1, 0).unsqueeze(0)
            if module.bias is not None:
                yield module.bias, lambda b: b
        elif isinstance(module, (nn.BatchNorm1d, nn.LayerNorm)):
            yield module.weight, lambda w: w
            yield module.bias, lambda b: b
            if isinstance(module, nn.BatchNorm1d):
                yield module.running_mean, lambda m: m
                yield module.running_var, lambda v: v


def lowpass(cutoff, dtype):
    position = torch.arange(65, dtype=torch.float64) - 32
    window = torch.hamming_window(65, periodic=False, dtype=torch.float64)
    taps = torch.sinc(2 * cutoff * position) * window
    return (taps / taps.sum()).to(dtype).reshape(1, 1, -1)


class Trainer:
    def __init__(self, base, stages, channels, dim, vectors, levels, cutoff=None, decay=0.99, beta=0.25):
        self.encoder = build_encoder(base, stages, channels, dim)
        self.decoder = build_decoder(base, stages, channels, dim)
        limit = 1 / vectors
        self.books = [torch.empty(vectors, dim).uniform_(-limit, limit) for _ in range(levels)]
        self.decay, self.beta, self.cutoff = decay, beta, cutoff

    def start(self):
        """Fixes the precision; the moving averages start as if each code had one member."""
        self.counts = [torch.ones_like(book[:, 0]) for book in self.books]
        self.sums = [book.clone() for book in self.books]
        self.filter = None if self.cutoff is None else lowpass(self.cutoff, self.books[0].dtype)
        parameters = [*self.encoder.parameters(), *self.decoder.parameters()]
        self.optimiser = torch.optim.Adam(parameters, lr=1e-3)

    def quantise(self, latents):
        """Sum of vectors with a straight-through gradient, commitment, and the members of each code."""
        flat = latents.transpose(1, 2).reshape(-1, latents.shape[1])
        residual, total, commitment, members = flat, torch.zeros_like(flat), 0, []
        for book in self.books:
            with torch.no_grad():
                distance = (book * book).sum(1) - 2 * residual @ book.T
                codes = distance.argmin(1)
                vectors = book[codes]
                chosen = F.one_hot(codes, book.shape[0]).to(flat.dtype)
                members.append((chosen.sum(0), chosen.T @ residual))
            commitment = commitment + ((vectors - residual) ** 2).mean()
            residual, total = residual - vectors, total + vectors
        straight = flat + (total - flat).detach()
        shape = (latents.shape[0], latents.shape[2], latents.shape[1])
        return straight.reshape(shape).transpose(1, 2), commitment, members

    def follow(self, members):
        for level, (counts, sums) in enumerate(members):
            self.counts[level].mul_(self.decay).add_(counts, alpha=1 - self.decay)
            self.sums[level].mul_(self.decay).add_(sums, alpha=1 - self.decay)
            total, size = self.counts[level].sum(), self.counts[level].numel()
            smoothed = (self.counts[level] + 1e-5) / (total + size * 1e-5) * total
            self.books[level] = self.sums[level] / smoothed[:, None]

    def step(self, inputs, targets):
        """One step on `[batch, channels, time]`; returns the parts of the loss."""
        self.optimiser.zero_grad(set_to_none=True)
        latents, commitment, members = self.quantise(self.encoder(inputs))
        error = self.decoder(latents) - targets
        mse, difference = (error**2).mean(), (error.diff(dim=-1) ** 2).mean()
        loss = mse + 0.1 * difference + self.beta * commitment
        slow = torch.zeros(())
        if self.filter is not None:
            weight = self.filter.expand(error.shape[1], 1, -1)
            slow = (F.conv1d(error, weight, padding=32, groups=error.shape[1]) ** 2).mean()
            loss = loss + slow
        loss.backward()
        self.optimiser.step()
        self.follow(members)
        return [value.detach() for value in (loss, mse, difference, slow, commitment)]
