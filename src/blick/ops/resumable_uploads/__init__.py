"""Uploads that come in pieces and may be broken off: made, added to, finished, given up (docs/resumable-upload.md).

    create → append, append … → finish (a job gives the bytes to the image)
           → append … ┐
           → append … ┴ concatenate (parts that came side by side) → finish

While pieces come the image stays queued, so that nothing is stuck whoever dies. How far an upload is tell the bytes
themselves: the length of a file, or the parts that are recorded.
"""
