"""Constants of the water and of the grid that both engines compute on."""

from __future__ import annotations

from dataclasses import dataclass

from mbo_gym.errors import InvalidData

__all__ = ["Physics"]


@dataclass(frozen=True)
class Physics:
    """Weakly compressible water by MLS-MPM on a square of one metre, in two dimensions.

    The defaults are those of the fluid tasks. Their constants are our own design: no released
    program of the papers could be read.

    Args:
        n_cells: Grid cells along each side.
        time_step_s: Duration of one substep.
        substeps_per_frame: Substeps between two recorded frames.
        bulk_modulus_n_m: Stiffness of the water (two-dimensional, so newton a metre).
        density_kg_m2: Mass of the water a square metre.
        gravity_m_s2: Acceleration of gravity, downwards.
        affine_kept: Share of the affine velocity that a substep keeps; below 1 it calms splashing.
        least_volume: Smallest volume of a particle, as a share of its volume at rest. The largest
            is 1: water resists compression and never tension.
        wall_cells: Thickness of the container's four walls.
        tool_radius_cells: Half the thickness of a tool; below 0.5, water leaks through.

    Raises:
        InvalidData: The walls leave no room, or a sound wave would cross a cell in a substep.
    """

    n_cells: int = 32
    time_step_s: float = 1.5e-3
    substeps_per_frame: int = 10
    bulk_modulus_n_m: float = 100.0
    density_kg_m2: float = 1.0
    gravity_m_s2: float = 9.8
    affine_kept: float = 0.95
    least_volume: float = 0.6
    wall_cells: int = 3
    tool_radius_cells: float = 0.8

    def __post_init__(self) -> None:
        if self.n_cells < 2 * self.wall_cells + 4 or self.wall_cells < 2:
            raise InvalidData(
                f"walls of {self.wall_cells} cells leave no room in a grid of {self.n_cells}. "
                "Take at least 2 cells of wall and 4 cells between the walls."
            )
        share = self.sound_m_s * self.time_step_s / self.cell_m
        if share >= 1:
            raise InvalidData(
                f"sound crosses {share:.2f} cells in a substep of {self.time_step_s:g} s, which is "
                "unstable. Shorten time_step_s until it is below 1."
            )

    @property
    def cell_m(self) -> float:
        """Side of a grid cell."""
        return 1.0 / self.n_cells

    @property
    def spacing_m(self) -> float:
        """Distance of neighbouring particles at rest: two a cell along each axis."""
        return 0.5 * self.cell_m

    @property
    def particle_kg(self) -> float:
        """Mass of one particle."""
        return self.density_kg_m2 * self.spacing_m**2

    @property
    def tool_radius_m(self) -> float:
        """Half the thickness of a tool."""
        return self.tool_radius_cells * self.cell_m

    @property
    def sound_m_s(self) -> float:
        """Speed of sound in the water."""
        return float((self.bulk_modulus_n_m / self.density_kg_m2) ** 0.5)

    @property
    def frame_s(self) -> float:
        """Time between two recorded frames."""
        return self.time_step_s * self.substeps_per_frame

    @property
    def low_m(self) -> float:
        """Lowest coordinate of a particle, at the inner side of a wall."""
        return self.wall_cells * self.cell_m

    @property
    def high_m(self) -> float:
        """Highest coordinate of a particle."""
        return 1.0 - self.low_m

    @property
    def pressure_gain(self) -> float:
        """Velocity (a cell and a unit of compression) that pressure adds in a substep."""
        return -4.0 * self.time_step_s * self.sound_m_s**2 / self.cell_m
