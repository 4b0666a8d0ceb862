"""The limits of a server as `GetModel` tells them. Enforces none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foveal_runtime._proto import model_pb2
from foveal_runtime.rpc.counts import counts
from foveal_runtime.rpc.limits import MAX_FILTER_NODES, MAX_PAGE_ENTRIES
from foveal_runtime.store.entry import MAX_IDS
from foveal_runtime.store.filter import MAX_DEPTH
from foveal_runtime.store.searcher import MAX_K

if TYPE_CHECKING:
    from foveal_runtime.serving.config import ServeConfig


def limits_to(config: ServeConfig, received_bytes: int) -> model_pb2.Limits:
    """Everything that the server admits.

    Args:
        config: of the server.
        received_bytes: that may arrive or wait for their answers; chosen at the start where the configuration names none.
    """
    batch = config.batch
    return model_pb2.Limits(
        max_message_bytes=config.max_message_bytes,
        max_studies=config.max_studies,
        max_image_pixels=config.max_image_pixels,
        max_queued_studies=config.queue.max_studies,
        max_queued_bytes=config.queue.max_bytes,
        stream_window=config.stream_window,
        max_hits=MAX_K,
        max_ids=MAX_IDS,
        max_page_entries=MAX_PAGE_ENTRIES,
        max_filter_nodes=MAX_FILTER_NODES,
        max_archive_calls=config.max_archive_calls,
        max_calls=config.max_calls,
        max_calls_per_caller=config.calls_per_caller,
        max_calls_per_s=config.max_calls_per_s or None,
        max_received_bytes=received_bytes,
        max_decode_s=batch.decode_cpu_s,
        max_decoded_bytes=batch.max_decoded_bytes,
        max_lost_workers_per_caller=batch.lost_per_caller or None,
        lost_workers_s=batch.lost_per_caller_s,
        max_filter_depth=MAX_DEPTH,
        max_elements={name.removeprefix("foveal.v1."): most for name, most in counts(config.max_studies).items()},
    )
