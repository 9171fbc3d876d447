/** States of a connection of `listen()`: bits in the reactor's byte for its descriptor. */
import { EPOLLET, EPOLLIN, EPOLLOUT, EPOLLRDHUP } from '../sys/constants.js'

/** `pause()` was called. */
export const PAUSED = 1
/** `end()` was called: a FIN follows the last queued byte. */
export const ENDING = 2
/** The FIN is sent. */
export const ENDED = 4
/** The peer has sent its FIN. */
export const HALF_CLOSED = 8
/** Bytes wait to be sent: the connection has a {@link SendQueue}. */
export const BLOCKED = 16
/** A write failed; epoll is about to report the hang-up that closes the connection. The listener keeps the error. */
export const FAILED = 32
/** Both directions are shut down, and received bytes wait until the connection is resumed. */
export const HUNG_UP = 64
/** A header of the PROXY protocol is expected. No handler was called yet. */
export const HEADER = 128

/** States in which nothing is read. */
export const NOT_READING = PAUSED | HALF_CLOSED | FAILED
/** States in which `write()` drops its bytes, or throws. */
export const NOT_WRITABLE = ENDING | ENDED | HALF_CLOSED | FAILED | HEADER

/** Bytes that the kernel did not take, oldest first. */
export interface SendQueue {
  chunks: Buffer[]
  bytes: number
  /** When the kernel last took some of them, by `performance.now()`. */
  since: number
}

/** Returns the events that a connection in this state is watched for. */
export function eventsOf(state: number): number {
  let events = 0
  if ((state & NOT_READING) === 0) events |= EPOLLIN | EPOLLRDHUP
  if ((state & BLOCKED) !== 0) events |= EPOLLOUT
  // epoll always reports a hang-up. Edge-triggered, it reports it only once.
  if ((state & HUNG_UP) !== 0) events |= EPOLLET
  return events
}
