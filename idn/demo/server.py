"""Web server of the demo: Starlette routes for the page, the consent and a swap. Keeps nothing, asks nobody else.

Every answer of `/api` but the consent wants the token that accepting the notice gives, in a header that other web pages
cannot send. Pictures come and go within one request: uploads are closed and gone before the answer leaves.
"""

import base64
import re
import secrets
from collections.abc import Awaitable, Callable, Sequence
from importlib import resources
from io import BytesIO

import torch
from PIL import Image
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from idn.data.procedural import FaceRenderer
from idn.demo.swapping import Swapping
from idn.errors import UserError
from idn.images import to_uint8

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
CONSENT = "X-Consent"
"""Header that carries the token of an accepted notice."""
LARGEST = 64 << 20
"""Bytes of both uploads together."""
PAGE = {"": ("page.html", "text/html"), "page.css": ("page.css", "text/css"), "page.js": ("page.js", "text/javascript")}
"""Paths -> files of the page and their types."""
SAFE = {
    "Content-Security-Policy": "default-src 'self'; img-src data: blob:; media-src blob:; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

Handler = Callable[[Request], Awaitable[Response]]


class Demo:
    """The page and what it asks for.

    swapping: does the work.
    drawn_size: side in pixels of drawn faces.
    """

    def __init__(self, swapping: Swapping, drawn_size: int = 256) -> None:
        self._swapping, self._drawn_size, self._tokens = swapping, drawn_size, set[str]()

    def app(self, hosts: Sequence[str] = LOOPBACK) -> Starlette:
        """The application. hosts: names under which browsers may ask for it; other web sites' names are refused."""
        marked = self._swapping.stamp.enabled
        routes = [Route(f"/{path}", _static(*file, marked)) for path, file in PAGE.items()]
        routes += [
            Route("/api/consent", self._consent, methods=["POST"]),
            Route("/api/students", self._accepted(self._students)),
            Route("/api/drawn", self._accepted(self._drawn)),
            Route("/api/swap", self._accepted(self._swap), methods=["POST"]),
        ]
        return Starlette(routes=routes, middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))])

    async def _consent(self, request: Request) -> Response:
        """A token for who accepts the notice."""
        given = await _json(request)
        if given != {"accepted": True}:
            return _refusal("accept the notice first", 403)
        token = secrets.token_urlsafe(24)
        self._tokens.add(token)
        return JSONResponse({"token": token}, headers=SAFE)

    def _accepted(self, handler: Handler) -> Handler:
        """The handler, for those who accepted the notice; what users can mend becomes one sentence."""

        async def guarded(request: Request) -> Response:
            if request.headers.get(CONSENT) not in self._tokens:
                return _refusal("accept the notice first", 403)
            try:
                return await handler(request)
            except UserError as error:
                return _refusal(str(error), 422)

        return guarded

    async def _students(self, request: Request) -> Response:
        """Who can be chosen, and which of them know drawn faces alone."""
        names = self._swapping.students
        known = {name: await run_in_threadpool(self._swapping.drawn_only, name) for name in names}
        return JSONResponse([{"name": name, "drawn_only": known[name]} for name in names], headers=SAFE)

    async def _drawn(self, request: Request) -> Response:
        """Two drawn people, for who has no photographs at hand."""
        pictures = await run_in_threadpool(_drawn_people, self._drawn_size)
        return JSONResponse(dict(zip(("source", "target"), map(_url, pictures), strict=True)), headers=SAFE)

    async def _swap(self, request: Request) -> Response:
        """Swap two uploads."""
        length = request.headers.get("content-length", "")
        if not length.isdigit() or int(length) > LARGEST:
            return _refusal(f"the pictures are larger than {LARGEST >> 20} MB: choose smaller ones", 413)
        async with request.form(max_files=2, max_fields=4) as form:
            files = [await _content(form.get(what)) for what in ("source", "target")]
            name, aligned = str(form.get("student", "")), form.get("aligned") == "true"
        answer = await run_in_threadpool(self._swapping.swap, name, *files, aligned)
        return JSONResponse(
            {
                "picture": _url(answer.picture),
                "views": {what: _url(view) for what, view in answer.views.items()},
                "seconds": answer.seconds,
                "similarity": answer.similarity,
                "before": answer.before,
            },
            headers=SAFE,
        )


async def _content(upload: object) -> bytes:
    """The bytes of an upload; none where there is none."""
    return await upload.read() if isinstance(upload, UploadFile) else b""


async def _json(request: Request) -> object:
    try:
        return await request.json()
    except ValueError:
        return None


def _static(name: str, kind: str, marked: bool) -> Handler:
    """A file of the page, whose notice promises marks only where there are any."""
    content = (resources.files("idn.demo") / "page" / name).read_text(encoding="utf-8")
    if not marked:
        content = re.sub(
            "<!--marked-->.*?<!--/marked-->", "Nothing marks the results as synthetic: you have to.", content
        )

    async def answer(request: Request) -> Response:
        return Response(content, media_type=kind, headers=SAFE)

    return answer


def _refusal(sentence: str, status: int) -> Response:
    return JSONResponse({"error": sentence}, status_code=status, headers=SAFE)


def _url(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _drawn_people(size: int) -> list[bytes]:
    """Two PNG files of procedural people."""
    renderer, generator = FaceRenderer(), torch.Generator().manual_seed(secrets.randbits(32))
    who, how = renderer.sample_identity(2, generator), renderer.sample_attributes(2, generator)
    files = []
    for pixels in to_uint8(renderer.render(who, how, size).image).permute(0, 2, 3, 1):
        Image.fromarray(pixels.numpy()).save(file := BytesIO(), "PNG")
        files.append(file.getvalue())
    return files
