/**
 * libuv's watch over the epoll descriptor in a worker thread, where koffi's own cannot be used (see `libc.poll`).
 *
 * A handle of Node's is closed in order when its worker ends, by itself or by `terminate()`, and none of Node's watches a
 * descriptor of any kind, but one: a UDP handle does not read by itself, it is told `recvmsg` failed (`ENOTSOCK`: it is no socket) and
 * goes on watching. So it is opened with a UDP socket, whose number is then made to mean the epoll instance. Costs a
 * failed `recvmsg` for each report; seen to work on Node 20, 22, 24 and 26.
 */
import { createSocket } from 'node:dgram'
import * as libc from '../libc.js'

interface UdpHandle extends libc.PollHandle {
  open(fd: number): number
  recvStart(): number
  onmessage: () => void
}

/**
 * @param epoll the caller's no more: closed, and `fd` stands for it, which the handle owns
 * @throws {SystemError} EMFILE; `ERR_EBB_UNSUPPORTED` where Node keeps its handle elsewhere
 */
export function workerPoll(epoll: number, ready: () => void): { fd: number; handle: libc.PollHandle } {
  const socket = createSocket('udp4')
  const state = Object.getOwnPropertySymbols(socket).find((symbol) => symbol.description === 'state symbol')
  const handle = (socket as unknown as Record<symbol, { handle?: UdpHandle }>)[state ?? Symbol()]?.handle
  if (typeof handle?.recvStart !== 'function') throw libc.unsupportedError('this Node has no watch for worker threads')
  const fd = libc.check(libc.socket(libc.AF_INET, libc.SOCK_DGRAM | libc.SOCK_CLOEXEC, 0), 'socket')
  if (handle.open(fd) !== 0) {
    libc.close(fd)
    throw libc.unsupportedError('this Node has no watch for worker threads')
  }
  // Before libuv tells its epoll of the number, which it does in the next turn.
  libc.check(libc.dup3(epoll, fd, libc.O_CLOEXEC), 'dup3')
  libc.close(epoll)
  handle.onmessage = ready
  handle.recvStart()
  handle.unref()
  return { fd, handle }
}
