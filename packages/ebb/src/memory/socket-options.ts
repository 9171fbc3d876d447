/**
 * An object like the one that Node makes for each socket that a server accepts, and drops when the socket is made: its options. Its hidden class goes
 * with the last of them, and with it the code of all constructors of a socket that were optimised for it; so one is made by Node, and kept.
 */
import { EventEmitter } from 'node:events'
import type { Socket, SocketConstructorOpts } from 'node:net'

/** Where every constructor of a stream hands its options in the end. Node's own, though not in its documents, and a program may replace it. */
const emitter = EventEmitter as typeof EventEmitter & { init?: (this: EventEmitter, options?: object) => void }

/**
 * To be called before the program's own code is optimised: V8 takes a property that was never written to for a constant, in all code that makes emitters, and
 * {@link socketOptions} writes to it.
 */
export function prepareSocketOptions(): void {
  catchOptions(() => {})
}

/**
 * The options of a socket that is made for this: it has no handle, and nobody sees it.
 *
 * @param socket one that a server accepted
 * @returns undefined for one of another class (a TLS socket's options are others), and where Node does not let them be seen
 */
export function socketOptions(socket: object): object | undefined {
  const net = process.getBuiltinModule('node:net')
  if (socket.constructor !== net.Socket) return undefined
  return catchOptions(() => makeSocket(net.Socket))
}

/** As net's `onconnection()` does. V8 gives objects with the same properties in the same order the same class, whatever their values. */
function makeSocket(SocketOfNet: typeof Socket): void {
  new SocketOfNet({
    handle: undefined,
    allowHalfOpen: false,
    pauseOnCreate: false,
    readable: true,
    writable: true,
    readableHighWaterMark: 65_536,
    writableHighWaterMark: 65_536
  } as SocketConstructorOpts)
}

/** The options of the last emitter that `make` made. */
function catchOptions(make: () => void): object | undefined {
  const { init } = emitter
  if (init === undefined) return undefined
  let caught: object | undefined
  emitter.init = function (options) {
    caught = options
    init.call(this, options)
  }
  try {
    make()
  } finally {
    emitter.init = init
  }
  return caught
}
