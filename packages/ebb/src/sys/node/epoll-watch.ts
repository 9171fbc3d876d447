/**
 * libuv's watch over an epoll instance, through a handle of Node.
 *
 * The reports come as from any handle of Node: Node opens its callback scope, passes exceptions to `uncaughtException`,
 * runs ticks and microtasks afterwards, and closes the handle when its thread ends, whether by itself or by
 * `terminate()`. koffi's own watch (see `libc.poll`) does none of this.
 *
 * Of Node's handles only a UDP handle can watch a descriptor of any kind, because it does not read by itself. libuv
 * tells it that the descriptor is readable, its `recvmsg` fails (`ENOTSOCK`), and it goes on watching. The handle is
 * therefore opened with a socket, and `dup3` then replaces that socket by the epoll instance. The cost is one failed
 * `recvmsg` for each report, which is no more than what koffi's watch costs. This works on Node 20, 22, 24 and 26.
 */
import { createSocket } from 'node:dgram'
import { isMainThread } from 'node:worker_threads'
import { EbbError } from '../errors.js'
import * as libc from '../libc.js'
import { outside } from './callback-scope.js'
import { symbolProperty } from './symbols.js'

interface UdpHandle extends libc.PollHandle {
  open(fd: number): number
  recvStart(): number
  recvStop(): number
  onmessage: () => void
}

/** A watch over an epoll instance. */
export interface EpollWatch {
  /** The descriptor that stands for the epoll instance from now on. */
  fd: number
  /** Owns `fd`. Starts unref'd, and must be kept referenced: garbage collection ends it. */
  handle: libc.PollHandle
}

/**
 * Watches an epoll instance.
 *
 * @param epoll descriptor of the epoll instance; this function takes it
 * @param ready called in a callback scope of Node when the instance has events
 * @throws {SystemError} EMFILE
 * @throws {EbbError} `ERR_EBB_UNSUPPORTED` in a worker thread, if this Node has no UDP handle where ebb looks for it
 */
export function watchEpoll(epoll: number, ready: () => void): EpollWatch {
  const fd = libc.check(libc.socket(libc.AF_UNIX, libc.SOCK_DGRAM | libc.SOCK_CLOEXEC, 0), 'socket')
  const handle = outside(() => handleFor(fd))
  if (handle !== undefined) {
    // libuv registers the descriptor with its own epoll in the next turn, so it registers the replacement.
    libc.check(libc.dup3(epoll, fd, libc.O_CLOEXEC), 'dup3')
    libc.close(epoll)
    handle.onmessage = ready
    handle.recvStart()
    handle.unref()
    return { fd, handle }
  }
  libc.close(fd)
  if (!isMainThread) {
    throw new EbbError('ERR_EBB_UNSUPPORTED', 'this Node cannot watch a descriptor in a worker thread')
  }
  // An immediate has a callback scope of Node, at the cost of latency.
  return { fd: epoll, handle: libc.poll(epoll, () => setImmediate(ready)) }
}

/** A watch over a listening socket. It starts stopped, and does not keep the process running. */
export interface ListeningWatch {
  start(): void
  stop(): void
  /** Ends the watch and closes the socket. */
  close(): void
}

/**
 * Watches a listening socket, which is one descriptor less than an epoll instance with the socket in it.
 *
 * @param fd the listening socket; the watch takes it
 * @param ready called in a callback scope of Node while connections wait
 * @returns undefined, and the caller still owns the socket, if this Node has no UDP handle where ebb looks for it
 */
export function watchListening(fd: number, ready: () => void): ListeningWatch | undefined {
  const handle = outside(() => handleFor(fd))
  if (handle === undefined) return undefined
  handle.onmessage = ready
  handle.unref()
  return {
    start: () => void handle.recvStart(),
    stop: () => void handle.recvStop(),
    close: () => handle.close()
  }
}

/**
 * Makes a UDP handle that owns `fd`.
 *
 * @returns undefined if this Node keeps its UDP handle elsewhere, and in the permission model without `--allow-net`
 */
function handleFor(fd: number): UdpHandle | undefined {
  // With a lookup, Node does not load its DNS client.
  const socket = createSocket({ type: 'udp4', lookup: noLookup })
  const { handle } = (symbolProperty(socket, 'state symbol') ?? {}) as { handle?: UdpHandle }
  if (typeof handle?.recvStart !== 'function') return undefined
  try {
    if (handle.open(fd) === 0) return handle
  } catch {
    // ERR_ACCESS_DENIED.
  }
  handle.close()
  return undefined
}

/** Is never called: the socket sends nothing. */
function noLookup(): void {}
