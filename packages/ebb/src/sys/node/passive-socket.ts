/** A `net.Socket` that owns a descriptor and does nothing with it. */
import { Socket, type SocketConstructorOpts } from 'node:net'

/**
 * Makes a `net.Socket` that owns `fd` and never reads from it (`manualStart`, which Node does not document).
 *
 * Node closes the descriptor when the socket is destroyed, or when the worker thread that made it ends.
 */
export function passiveSocket(fd: number): Socket {
  return new Socket({ fd, manualStart: true } as SocketConstructorOpts)
}
