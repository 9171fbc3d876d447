/**
 * Receiving and sending on a non-blocking descriptor. A call that a signal interrupts (`EINTR`) is made again.
 *
 * Results below 0 are a negative errno.
 */
import * as libc from './libc.js'
import { SCRATCH_SIZE, scratchAddress, scratchBuffer } from './scratch.js'

export { addressOf } from './libc.js'

/**
 * Receives into memory.
 *
 * @param address of at least `length` bytes, whose buffer the caller keeps (see `libc.addressOf`)
 * @returns the number of bytes; 0 after the peer's FIN; a negative errno (`-EAGAIN`: nothing has come)
 */
export function receiveAt(fd: number, address: number, length: number): number {
  return receive(fd, address, length, 0)
}

/** Receives up to `length` bytes, at most {@link SCRATCH_SIZE}, and drops them. @returns as {@link receiveAt} */
export function receiveAndDrop(fd: number, length = SCRATCH_SIZE): number {
  return receive(fd, scratchAddress(), Math.min(length, SCRATCH_SIZE), 0)
}

/**
 * Looks at up to `length` bytes, at most {@link SCRATCH_SIZE}, without taking them; {@link peeked} returns them.
 *
 * @returns as {@link receiveAt}
 */
export function peek(fd: number, length: number): number {
  return receive(fd, scratchAddress(), Math.min(length, SCRATCH_SIZE), libc.MSG_PEEK)
}

/** Returns the first `length` bytes that the last {@link peek} saw, valid until the next call of this module. */
export function peeked(length: number): Buffer {
  return scratchBuffer().subarray(0, length)
}

/**
 * Sends the bytes of a buffer.
 *
 * @returns how many bytes the kernel took, from 0 (it has no room or no memory now) to all; a negative errno if the
 *   connection is broken
 */
export function sendBytes(fd: number, bytes: Uint8Array): number {
  return send(fd, bytes, 0, bytes.length)
}

/**
 * Sends bytes by their address, which is about 20 % cheaper than {@link sendBytes}.
 *
 * @param address of `length` bytes, whose buffer the caller keeps (see `libc.addressOf`)
 * @returns as {@link sendBytes}
 */
export function sendAt(fd: number, address: number, length: number): number {
  return send(fd, undefined, address, length)
}

function receive(fd: number, address: number, length: number, flags: number): number {
  for (;;) {
    const received = libc.recv(fd, address, length, flags)
    if (received !== -1) return received
    const errno = libc.errno()
    if (errno !== libc.E.EINTR) return -errno
  }
}

function send(fd: number, bytes: Uint8Array | undefined, address: number, length: number): number {
  for (;;) {
    const sent =
      bytes === undefined
        ? libc.send(fd, address, length, libc.MSG_NOSIGNAL)
        : libc.sendBuffer(fd, bytes, length, libc.MSG_NOSIGNAL)
    if (sent !== -1) return sent
    const errno = libc.errno()
    // ENOBUFS, ENOMEM: the kernel is short of memory. No event says when it is not; epoll reports writable at once.
    if (errno === libc.E.EAGAIN || errno === libc.E.ENOBUFS || errno === libc.E.ENOMEM) return 0
    if (errno !== libc.E.EINTR) return -errno
  }
}
