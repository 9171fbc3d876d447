/** The handlers that a program gives to a listener. */
import type { HandedOver } from '../socket/moved.js'
import type { EbbError, SystemError } from '../sys/errors.js'
import type { AddressInfo } from '../sys/sockaddr.js'
import type { Connection } from './connection.js'

/**
 * Handlers of a listener, shared by all its connections. All are optional and are called without `this`.
 *
 * No {@link Connection} object is made for `open` and `close` if they are arrow functions without parameters, such as
 * `() => count++`.
 */
export interface Handlers {
  /** Called when a connection was accepted. */
  open?(connection: Connection): void
  /**
   * Called with at least one received byte. The handler may keep `bytes`. Without this handler, received bytes are read
   * and dropped.
   */
  data?(connection: Connection, bytes: Buffer): void
  /** Called when the kernel has taken all bytes that `write()` had to queue. */
  drain?(connection: Connection): void
  /**
   * Called once for each opened connection when it is closed by either side, or broken.
   *
   * @param error what broke the connection; undefined if it was closed
   */
  close?(connection: Connection, error?: SystemError): void
  /**
   * Called when the listener cannot accept connections. With `EMFILE`, `ENFILE`, `ENOBUFS`, `ENOMEM` or `ENOSPC` (too
   * many epoll watches), accepting pauses and resumes by itself. Further pauses are not reported until the number of
   * clients has changed by more than 10 %. With any other code, the listener closes. Without this handler, the error
   * becomes a process warning.
   */
  error?(error: SystemError): void
  /**
   * Called in place of `open` for a connection that came from the process before: see `handover()`. Its
   * {@link Connection.id} and {@link Connection.attachment} are those of that process.
   */
  moved?(connection: Connection): void
  /**
   * Called when another process has taken over the listener and its connections. The `close` handler is not called for
   * connections that have moved.
   */
  handedOver?(report: HandedOver): void
  /** Called when another process could not take over. This one goes on. */
  handoverFailed?(error: EbbError | SystemError): void
  /**
   * Called when a connection was closed because it did not begin with a valid header of the PROXY protocol. The other
   * handlers were not called for it.
   *
   * @param error `ERR_EBB_PROXY_HEADER` or `ERR_EBB_PROXY_TIMEOUT`
   * @param peer address of the peer; undefined if it is gone
   */
  proxyError?(error: EbbError, peer: AddressInfo | undefined): void
}

/** Begins the text of an arrow function without parameters, which sees no argument: it has no `arguments` either. */
const WITHOUT_PARAMETERS = /^(?:async\s*)?\(\s*\)\s*=>/

const { toString: textOf } = Function.prototype

/** Whether a handler cannot see what it is called with. False if in doubt. */
export function ignoresArguments(handler: unknown): boolean {
  return typeof handler === 'function' && handler.length === 0 && WITHOUT_PARAMETERS.test(textOf.call(handler))
}
