"""From requests to answers: admission, the waiting line, the dispatcher, workers and their loss, plan, configuration.

Not here: protobuf (`rpc`), the model (`engine`). Studies flow from a request through the line to a worker; results back.
"""
