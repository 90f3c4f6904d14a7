"""PyTorch as a peer (the protocol is in ../peers.h): scaled_dot_product_attention where this version
has it (2.0), else softmax over 512 queries at a time, cut at the causal edge, the fastest of what
version 1 can do."""
import os
import sys
import time

# Else the workers of OpenMP and of the BLAS spin against each other, and against the next program.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
import torch

torch.set_grad_enabled(False)
CHUNK = 512


def attend(q, k, v, causal):
    if hasattr(torch.nn.functional, "scaled_dot_product_attention"):
        return torch.nn.functional.scaled_dot_product_attention(
            q[None], k[None], v[None], is_causal=causal)[0]
    output = torch.empty_like(q)
    heads, length, dim = q.shape
    for head in range(heads):
        for first in range(0, length, CHUNK):
            last = min(first + CHUNK, length)
            seen = last if causal else length
            scores = torch.matmul(q[head, first:last], k[head, :seen].T).mul_(dim**-0.5)
            if causal:
                hidden = torch.ones(last - first, last - first, dtype=torch.bool).triu_(1)
                scores[:, first:].masked_fill_(hidden, float("-inf"))
            output[head, first:last] = torch.softmax(scores, -1) @ v[head, :seen]
    return output


class Peer:
    def problem(self, path, length, heads, dim, causal, threads, dtype):
        shape = (3, int(heads), int(length), int(dim))
        kind = getattr(torch, dtype)
        size = 3 * shape[1] * shape[2] * shape[3] * torch.empty((), dtype=kind).element_size()
        self.file = open(path, "r+b", buffering=0)
        data = bytearray(size)
        self.file.readinto(data)
        self.tensors = torch.frombuffer(data, dtype=kind).view(shape)
        self.causal, self.offset = causal == "1", size
        torch.set_num_threads(int(threads))
        self.run()
        sdpa = hasattr(torch.nn.functional, "scaled_dot_product_attention")
        way = "scaled_dot_product_attention" if sdpa else f"softmax, {CHUNK} queries at a time"
        return f"PyTorch {torch.__version__}, {way}"

    def run(self):
        start = time.perf_counter()
        self.result = attend(*self.tensors, self.causal)
        return time.perf_counter() - start

    def output(self):
        self.file.seek(self.offset)
        self.file.write(self.result.float().contiguous().numpy().tobytes())
        return "done"


peer = Peer()
for line in sys.stdin:
    word, *rest = line.split()
    try:
        text = getattr(peer, word)(*rest)
    except Exception as e:  # the parent makes a row of it
        text = "error: " + " ".join(str(e).split())
    print(text, flush=True)
