"""Batches: from visible data to designs that can be measured, with what is known of each."""

from __future__ import annotations
