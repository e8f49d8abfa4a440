"""Whether objects say where they belong: a default namespace would put them somewhere by accident."""

from __future__ import annotations

from collections.abc import Iterable

from .api import Api, ApiError, ConnectionFailed, NotServed
from .errors import PlatformError
from .objects import Ref


def namespace_problems(api: Api, places: Iterable[tuple[Ref, str]]) -> list[PlatformError]:
    """What is wrong with the namespaces of objects, each given with the place in the input where it stands."""
    problems = []
    for ref, place in places:
        try:
            namespaced = api.type_of(ref.api_version, ref.kind).namespaced
        except (NotServed, ApiError, ConnectionFailed):
            continue  # Its turn will tell.
        if namespaced and not ref.namespace:
            problems.append(PlatformError("lacks metadata.namespace", object=f"{ref} ({place})"))
        elif not namespaced and ref.namespace:
            problems.append(PlatformError("is cluster-scoped but has metadata.namespace", object=f"{ref} ({place})"))
    return problems
