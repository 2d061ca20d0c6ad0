"""Dependency injection for routes: app.py builds the parts, and each route names those that it needs.

`TheJobs = Annotated[Jobs, Depends(part(Jobs))]` is the parameter type of a route that needs the jobs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from fastapi import FastAPI, Request

T = TypeVar("T")


def install(app: FastAPI, *parts: object) -> None:
    """Store an application's parts, one per type."""
    app.state.parts = {type(part): part for part in parts}


def part(kind: type[T]) -> Callable[[Request], Awaitable[T]]:
    """Return the dependency that passes a route the part of a type."""

    async def find(request: Request) -> T:  # asynchronous: FastAPI runs others in a thread
        return part_of(request, kind)

    return find


def part_of(request: Request, kind: type[T]) -> T:
    """Return the part of a type."""
    found: T = request.app.state.parts[kind]
    return found
