/**
 * Sockets on their way to another process. A channel sends one handle at a time. The others wait in a queue of the
 * channel, and Node takes the handle from the socket when it is its turn.
 */
import type { ChildProcess } from 'node:child_process'
import { subscribe } from 'node:diagnostics_channel'
import { Socket } from 'node:net'
import { activeHandles } from '../../sys/node/handles.js'

/** One end of an IPC channel: a child process, or `process` of a child. */
interface Channel {
  /** Messages that wait for the acknowledgement of the last handle; null while there is none to wait for. */
  _handleQueue?: { handle?: unknown }[] | null
  /** Sends a message, or puts it in the queue. */
  _send?(message: unknown, handle: unknown, ...rest: unknown[]): unknown
}

/** Child processes of this process. */
let children: WeakRef<Channel>[] | undefined
/** Length of {@link children} at which those that were collected are removed. */
let limit = 64

/**
 * Starts to watch the IPC channels of this process.
 *
 * @param present returns the open socket of a connection, given a socket of it that was destroyed when it was parked
 */
export function watchChannels(present: (socket: Socket) => Socket): void {
  if (children !== undefined) return
  children = []
  presentSocket = present
  wrapSend(process as unknown as Channel)
  for (const handle of activeHandles() ?? []) {
    // A child process that was started before.
    if (handle !== null && 'spawnargs' in handle) addChild(handle as unknown as ChildProcess)
  }
  subscribe('child_process', (message) => addChild((message as { process: ChildProcess }).process))
}

let presentSocket: (socket: Socket) => Socket

/** Has a channel send the present socket of a connection in place of one that was destroyed when it was parked. */
function wrapSend(channel: Channel): void {
  const { _send: send } = channel
  if (send === undefined) return
  channel._send = function (message, handle, ...rest) {
    return send.call(this, message, handle instanceof Socket ? presentSocket(handle) : handle, ...rest)
  }
}

function addChild(child: ChildProcess): void {
  if (children === undefined) return
  // Node sets up the channel after it has told of the child process.
  queueMicrotask(() => wrapSend(child as unknown as Channel))
  children.push(new WeakRef(child as unknown as Channel))
  if (children.length < limit) return
  children = children.filter((reference) => reference.deref() !== undefined)
  limit = Math.max(64, 2 * children.length)
}

/** Whether a socket waits to be sent to another process. */
export function waitsForChannel(socket: Socket): boolean {
  if (isQueued(process as unknown as Channel, socket)) return true
  return children?.some((reference) => isQueued(reference.deref(), socket)) ?? false
}

function isQueued(channel: Channel | undefined, socket: Socket): boolean {
  return channel?._handleQueue?.some(({ handle }) => handle === socket) ?? false
}
