"""What docs/api.md asks of grpcurl, where grpcurl itself is not installed: JSON in, server reflection, JSON out.

python grpcurl.py -plaintext [-d JSON|@] HOST:PORT SERVICE/METHOD
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

from google.protobuf import json_format, message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from foveal_runtime.client.channel import open_channel


def main(arguments: list[str]) -> int:
    """Call one method and print what comes."""
    words = [word for word in arguments if word != "-plaintext"]
    text = "{}"
    if "-d" in words:
        at = words.index("-d")
        text = sys.stdin.read() if words[at + 1] == "@" else words[at + 1]
        del words[at : at + 2]
    address, _, path = words[0], None, words[1]
    service_name, _, method_name = path.rpartition("/")
    with open_channel(address) as channel:
        pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
        method = pool.FindServiceByName(service_name).methods_by_name[method_name]
        request = message_factory.GetMessageClass(method.input_type)
        answer = message_factory.GetMessageClass(method.output_type)

        def requests() -> Iterator[Message]:
            decoder, rest = json.JSONDecoder(), text.strip()
            while rest:
                document, end = decoder.raw_decode(rest)
                yield json_format.ParseDict(document, request(), descriptor_pool=pool)
                rest = rest[end:].strip()

        kind = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
        call = getattr(channel, kind)(f"/{path}", request.SerializeToString, answer.FromString)
        given = requests() if method.client_streaming else next(requests())
        found = call(given, timeout=30)
        for message in found if method.server_streaming else [found]:
            sys.stdout.write(json_format.MessageToJson(message, descriptor_pool=pool) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
