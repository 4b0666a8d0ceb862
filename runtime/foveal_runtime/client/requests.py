"""Requests of both clients, from domain types. Sends nothing."""

from __future__ import annotations

import io
from collections.abc import Iterable

from foveal_runtime._proto import screening_pb2, study_pb2
from foveal_runtime.access.bearer import Bearer
from foveal_runtime.client.options import ClientOptions
from foveal_runtime.engine.answers import VectorKind
from foveal_runtime.errors import ConfigError
from foveal_runtime.rpc.messages import KIND_TO, study_to
from foveal_runtime.serving.address import is_loopback
from foveal_runtime.study.study import Study


def scaled_down(image: bytes, side_px: int) -> bytes:
    """A photograph of at most `side_px` a side; the very same bytes when it is small enough or can't be read here."""
    from PIL import Image

    from foveal_runtime.errors import ImageError
    from foveal_runtime.photo.imaging import open_header, upright

    try:
        picture = open_header(image)
        if max(picture.size) <= side_px:
            return image
        picture.draft("RGB", (side_px, side_px))
        rgb = upright(picture)
    except (ImageError, OSError):
        return image  # the server says what is wrong with it, in one place
    rgb.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    rgb.save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()


class Messages:
    """Requests from domain types, and the token that goes with each."""

    def __init__(self, address: str, options: ClientOptions | None) -> None:
        """Raises:
        ConfigError: the token can't be read, or would travel to another machine in plain text.
        """
        self.address = address
        self.options = ClientOptions() if options is None else options
        in_plain_text = self.options.tls_ca is None and not is_loopback(address)
        if self.options.token_file is not None and in_plain_text and not self.options.insecure:
            raise ConfigError(
                f"the token would travel to {address} in plain text, and whoever reads it can use it; give --tls-ca, or accept "
                f"that with --insecure"
            )
        self._bearer = Bearer(self.options.token_file)

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Of every call: who makes it."""
        return self._bearer.metadata()

    def study(self, study: Study) -> study_pb2.Study:
        """One study, its photograph scaled down when the options say so."""
        message = study_to(study)
        if self.options.scale_down_px is not None and study.image is not None:
            message.image.encoded = scaled_down(study.image, self.options.scale_down_px)
        return message

    def grade(
        self, studies: Iterable[Study], operating_point: str = "", evidence_map: bool = False
    ) -> screening_pb2.GradeRequest:
        """Of `Grade`."""
        return screening_pb2.GradeRequest(
            studies=[self.study(s) for s in studies], operating_point=operating_point, evidence_map=evidence_map
        )

    def embed(self, studies: Iterable[Study], kinds: Iterable[VectorKind]) -> screening_pb2.EmbedRequest:
        """Of `Embed`."""
        return screening_pb2.EmbedRequest(studies=[self.study(s) for s in studies], kinds=[KIND_TO[k] for k in kinds])
