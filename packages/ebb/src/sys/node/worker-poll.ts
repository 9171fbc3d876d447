/**
 * libuv's watch over the epoll descriptor in a worker thread, where koffi's own watch cannot be used (see `libc.poll`).
 *
 * Node closes its own handles in order when a worker ends, whether by itself or by `terminate()`. Of these handles only
 * a UDP handle can watch a descriptor of any kind, because it does not read by itself. libuv tells it that the
 * descriptor is readable, its `recvmsg` fails (`ENOTSOCK`), and it goes on watching. The handle is therefore opened
 * with a UDP socket, and `dup3` then replaces that socket by the epoll instance. The cost is one failed `recvmsg` for
 * each report. This works on Node 20, 22, 24 and 26.
 */
import { createSocket } from 'node:dgram'
import * as libc from '../libc.js'

interface UdpHandle extends libc.PollHandle {
  open(fd: number): number
  recvStart(): number
  onmessage: () => void
}

/**
 * Watches an epoll instance from a worker thread.
 *
 * @param epoll descriptor of the epoll instance; this function closes it
 * @param ready called when the instance has events
 * @returns the handle, and the descriptor that stands for the epoll instance from now on; the handle owns it
 * @throws {SystemError} EMFILE
 * @throws {EbbError} `ERR_EBB_UNSUPPORTED` if this Node keeps its UDP handle elsewhere
 */
export function workerPoll(epoll: number, ready: () => void): { fd: number; handle: libc.PollHandle } {
  const handle = udpHandle()
  const fd = libc.check(libc.socket(libc.AF_INET, libc.SOCK_DGRAM | libc.SOCK_CLOEXEC, 0), 'socket')
  if (handle.open(fd) !== 0) {
    libc.close(fd)
    throw libc.unsupportedError('this Node cannot watch a descriptor in a worker thread')
  }
  // libuv registers the descriptor with its own epoll in the next turn, so it registers the replacement.
  libc.check(libc.dup3(epoll, fd, libc.O_CLOEXEC), 'dup3')
  libc.close(epoll)
  handle.onmessage = ready
  handle.recvStart()
  handle.unref()
  return { fd, handle }
}

function udpHandle(): UdpHandle {
  const socket = createSocket('udp4')
  const state = Object.getOwnPropertySymbols(socket).find((symbol) => symbol.description === 'state symbol')
  const handle = (socket as unknown as Record<symbol, { handle?: UdpHandle }>)[state ?? Symbol()]?.handle
  if (typeof handle?.recvStart === 'function') return handle
  throw libc.unsupportedError('this Node cannot watch a descriptor in a worker thread')
}
