"""The gRPC door: protobuf messages in and out, statuses, deadlines, metrics of calls.

Not here: how a study is answered (`serving`), how it is stored (`store`). Messages flow in, to either room; answers flow out.
"""
