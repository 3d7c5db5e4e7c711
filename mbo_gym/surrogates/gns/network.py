"""The graph network: particles of water as nodes, near pairs and near tools as messages."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mbo_gym.files.weights import read_weights, save_weights
from mbo_gym.settings import require_at_least
from mbo_gym.simulators.fluid.physics import Physics
from mbo_gym.surrogates.gns.geometry import distances_m2, keep_outside, nearest_points

__all__ = ["SHIPPED", "FluidNetwork", "NetworkConfig", "Water", "load_network", "save_network"]

SHIPPED = Path(__file__).parent / "weights.safetensors"
"""Weights that the package ships, made by ``python -m experiments.data.train_gns``."""

_BUMPS = (0.2, 0.45, 0.7)  # centres of radial features, as shares of the reach
_BUMP_WIDTH = 0.15
_N_RADIAL = 1 + len(_BUMPS)
_TINY = 1e-8


@dataclass(frozen=True)
class NetworkConfig:
    """Size of a graph network simulator.

    Args:
        width: Numbers a particle is told by inside the network.
        rounds: Rounds of messages between near particles.
        history: Velocities of each particle that the network sees, the newest last.
        reach_m: Distance within which particles exchange messages.
        tool_reach_m: Distance within which a tool's segment sends a message.
        contact_m: Least distance of a particle to a tool's centre line. Tools have a radius of
            25 mm, and 1 of 100 particles at a tool sinks in to 17 mm (measured).
    """

    width: int = 32
    rounds: int = 3
    history: int = 3
    reach_m: float = 0.04
    tool_reach_m: float = 0.06
    contact_m: float = 0.018

    def __post_init__(self) -> None:
        require_at_least(self, 1, "width", "rounds", "history")


@dataclass(frozen=True, eq=False)
class Water:
    """The water of B designs with N particles each, as the network sees it.

    Args:
        position_m: (B, N, 2).
        velocity_m_s: (B, N, H, 2) over the last frames, the newest last.
    """

    position_m: Tensor
    velocity_m_s: Tensor


class Round(nn.Module):
    """One round of messages: m_ij = relu(A h_i + B h_j + C e_ij), then h_i += f(h_i, sum m_ij).

    The second layer of the messages is linear and follows the sum, where it is part of f. C e_ij is
    computed outside, for all rounds at once.

    Args:
        width: Length of h and m.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ends = nn.Linear(width, 2 * width)  # A and B
        self.update = nn.Sequential(
            nn.Linear(2 * width, width), nn.ReLU(), nn.Linear(width, width), nn.LayerNorm(width)
        )

    def forward(self, node: Tensor, edge: Tensor, to: Tensor, by: Tensor) -> Tensor:
        """Return the nodes (M, width) after messages along edges (E, width) `by` -> `to`."""
        receiver, sender = self.ends(node).chunk(2, -1)
        message = receiver.index_select(0, to) + sender.index_select(0, by) + edge
        received = torch.zeros_like(node).index_add(0, to, torch.relu(message))
        return node + self.update(torch.cat([node, 0.15 * received], -1))  # type: ignore[no-any-return]


class FluidNetwork(nn.Module):
    """GNS: graph network-based simulator of water and tools (Sanchez-Gonzalez et al., ICML 2020).

    Only water particles are nodes. The network gives each particle's change of velocity over a
    frame, in addition to gravity's, which is its start.

    Algorithm, a frame:
        1. encode each particle: velocities, distances of the walls, and the sum of one message from
           the nearest point of each near tool segment
        2. exchange messages with near particles, `rounds` times
        3. velocity += gravity * frame + decoded change
        4. position += velocity * frame, stopped by tools and walls (`keep_outside`)

    Args:
        config: Sizes.
        physics: Physics that it repeats: frame, gravity and walls.

    Example:
        >>> import torch
        >>> from mbo_gym.surrogates.gns.network import FluidNetwork, NetworkConfig
        >>> network = FluidNetwork(NetworkConfig(width=8))
        >>> start = torch.rand(20, 2) * 0.2 + 0.4
        >>> network.rollout(start, torch.tensor([[[0.2, 0.3, 0.8, 0.3]]]), n_frames=4).shape
        torch.Size([1, 4, 20, 2])

    References:
        Sanchez-Gonzalez et al. 2020, Learning to Simulate Complex Physics with Graph Networks,
        arXiv 2002.09405.
    """

    speed_m_s: Tensor
    change_m_s: Tensor

    def __init__(self, config: NetworkConfig | None = None, physics: Physics | None = None) -> None:
        super().__init__()
        self.config = config = config or NetworkConfig()
        self.physics = physics or Physics()
        width = config.width
        self.tool = nn.Sequential(
            nn.Linear(4 + _N_RADIAL, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )
        self.tools = nn.Linear(width, width)
        self.node = nn.Sequential(
            nn.Linear(2 * config.history + 4 + width, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.LayerNorm(width),
        )
        self.edge = nn.Linear(4 + _N_RADIAL, config.rounds * width)
        self.rounds = nn.ModuleList(Round(width) for _ in range(config.rounds))
        self.decoder = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2))
        # units of the network, in m/s: what training data have on average
        self.register_buffer("speed_m_s", torch.ones(()))
        self.register_buffer("change_m_s", torch.ones(()))

    def forward(self, water: Water, segments_m: Tensor) -> Water:
        """Return the water a frame later; differentiable in all arguments.

        Args:
            water: Water of B designs.
            segments_m: (B, S, 4) tools and fixed walls, as (x, y) of both ends.
        """
        physics = self.physics
        fall_m_s = water.position_m.new_tensor([0.0, -physics.gravity_m_s2 * physics.frame_s])
        velocity_m_s = water.velocity_m_s[:, :, -1] + fall_m_s
        velocity_m_s = velocity_m_s + self.change_m_s * self._change(water, segments_m)
        position_m = keep_outside(
            water.position_m,
            water.position_m + velocity_m_s * physics.frame_s,
            segments_m,
            contact_m=self.config.contact_m,
            low_m=physics.low_m,
            high_m=physics.high_m,
        )
        moved_m_s = (position_m - water.position_m) / physics.frame_s
        history = torch.cat([water.velocity_m_s[:, :, 1:], moved_m_s[:, :, None]], 2)
        return Water(position_m, history)

    def rollout(
        self,
        particles_m: Tensor,
        segments_m: Tensor,
        n_frames: int,
        *,
        last: int | None = None,
    ) -> Tensor:
        """Return the frames of an episode that starts with still water.

        Where a gradient is wanted, the forward pass of each frame is repeated for it, so that
        memory does not grow with the frames.

        Args:
            particles_m: (N, 2) positions at time 0.
            segments_m: (B, S, 4) tools and fixed walls.
            n_frames: Frames to compute.
            last: Frames to return, the last ones; None for all.

        Returns:
            (B, F, N, 2) positions in metres.
        """
        kept = n_frames if last is None else last
        position_m = particles_m.to(segments_m).expand(len(segments_m), -1, -1)
        velocity_m_s = position_m.new_zeros(*position_m.shape[:2], self.config.history, 2)
        frames = []
        for frame in range(n_frames):
            if segments_m.requires_grad and torch.is_grad_enabled():
                position_m, velocity_m_s = checkpoint(
                    self._frame, position_m, velocity_m_s, segments_m, use_reentrant=False
                )
            else:
                position_m, velocity_m_s = self._frame(position_m, velocity_m_s, segments_m)
            if frame >= n_frames - kept:
                frames.append(position_m)
        return torch.stack(frames, 1)

    def _frame(
        self, position_m: Tensor, velocity_m_s: Tensor, segments_m: Tensor
    ) -> tuple[Tensor, Tensor]:
        water = self(Water(position_m, velocity_m_s), segments_m)
        return water.position_m, water.velocity_m_s

    def _change(self, water: Water, segments_m: Tensor) -> Tensor:
        """Return the change of velocity (B, N, 2) over a frame beside gravity's, in its unit."""
        n_designs, n_particles, _ = water.position_m.shape
        place_m = water.position_m.reshape(-1, 2)  # (M, 2), M = B * N
        speed = water.velocity_m_s / self.speed_m_s
        newest = speed[:, :, -1].reshape(-1, 2)
        physics, reach_m = self.physics, self.config.tool_reach_m
        walls = torch.cat([place_m - physics.low_m, physics.high_m - place_m], -1)
        walls = (walls / reach_m).clamp(-1, 1)
        tools = self._tool_messages(water.position_m, newest, segments_m)
        node = self.node(torch.cat([speed.reshape(len(place_m), -1), walls, tools], -1))
        to, by = self._near(water.position_m)
        offset = (place_m.index_select(0, by) - place_m.index_select(0, to)) / self.config.reach_m
        drift = newest.index_select(0, by) - newest.index_select(0, to)
        edges = self.edge(torch.cat([offset, drift, _radial(offset)], -1))
        for messages, edge in zip(self.rounds, edges.chunk(self.config.rounds, -1), strict=True):
            node = messages(node, edge, to, by)
        return self.decoder(node).view(n_designs, n_particles, 2)  # type: ignore[no-any-return]

    def _near(self, position_m: Tensor) -> tuple[Tensor, Tensor]:
        """Return receiver and sender (E,) of the pairs within reach, as rows of B * N particles."""
        with torch.no_grad():
            x_m, y_m = position_m.unbind(-1)  # (B, N) each
            apart_x, apart_y = x_m[:, :, None] - x_m[:, None], y_m[:, :, None] - y_m[:, None]
            near = apart_x * apart_x + apart_y * apart_y < self.config.reach_m**2
            near.diagonal(dim1=1, dim2=2).fill_(False)
            design, to, by = near.nonzero(as_tuple=True)
            first = design * position_m.shape[1]
        return first + to, first + by

    def _tool_messages(self, position_m: Tensor, newest: Tensor, segments_m: Tensor) -> Tensor:
        """Return the sums (B * N, width) of what the near segments send to each particle."""
        n_particles, reach_m = position_m.shape[1], self.config.tool_reach_m
        with torch.no_grad():
            near = distances_m2(position_m, segments_m) < reach_m**2
            design, particle, tool = near.nonzero(as_tuple=True)
        point, segment = position_m[design, particle], segments_m[design, tool]  # (E, 2), (E, 4)
        offset = (point - nearest_points(point, segment)) / reach_m
        to = design * n_particles + particle
        message = self.tool(torch.cat([offset, newest[to], _radial(offset)], -1))
        received = message.new_zeros(len(newest), message.shape[1]).index_add(0, to, message)
        return self.tools(0.5 * received)  # type: ignore[no-any-return]


def _radial(offset: Tensor) -> Tensor:
    """Return the length and the radial bumps (E, 4) of offsets (E, 2) in units of the reach."""
    length = (offset[:, :1].square() + offset[:, 1:].square() + _TINY).sqrt()
    bumps = [torch.exp(-(((length - centre) / _BUMP_WIDTH) ** 2)) for centre in _BUMPS]
    return torch.cat([length, *bumps], -1)


def save_network(network: FluidNetwork, path: Path, **training: int | list[int]) -> None:
    """Write a network's weights, with its sizes, physics and how it was trained in the header.

    Args:
        network: Trained network.
        path: File to write.
        **training: Facts of the training by name, e.g. its updates and its seed.
    """
    about = {
        "network": json.dumps(asdict(network.config)),
        "physics": json.dumps(asdict(network.physics)),
        "training": json.dumps(training),
    }
    save_weights(path, network.state_dict(), about)


def load_network(path: Path = SHIPPED) -> FluidNetwork:
    """Read what `save_network` wrote, in evaluation mode and without gradients of the weights.

    Raises:
        MissingData: There is no such file.
    """
    weights, about = read_weights(path)
    sizes, physics = (json.loads(about[key]) for key in ("network", "physics"))
    network = FluidNetwork(NetworkConfig(**sizes), Physics(**physics))
    network.load_state_dict(weights)
    return network.eval().requires_grad_(False)
