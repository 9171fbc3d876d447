/** Receiving and sending on a descriptor, whatever interrupts it. */
import * as libc from './libc.js'
import { scratch, scratchBuffer } from './scratch.js'

/** Bytes received, 0 at the end, -1 with errno. */
export function receive(fd: number, length: number, flags: number): number {
  for (;;) {
    const received = libc.recv(fd, scratch(), length, flags)
    if (received !== -1 || libc.errno() !== libc.E.EINTR) return received
  }
}

/** How many bytes the kernel took: 0 to all; -1: the connection is broken. */
export function sendNow(fd: number, bytes: Uint8Array): number {
  for (;;) {
    const sent = libc.sendBuffer(fd, bytes, bytes.length, libc.MSG_NOSIGNAL)
    if (sent !== -1) return sent
    const errno = libc.errno()
    if (errno !== libc.E.EINTR) return isShort(errno) ? 0 : -1
  }
}

/** The kernel has no room, now. */
function isShort(errno: number): boolean {
  return errno === libc.E.EAGAIN || errno === libc.E.ENOBUFS || errno === libc.E.ENOMEM
}

/** The first bytes of {@link scratch}. */
export function received(length: number): Buffer {
  return scratchBuffer().subarray(0, length)
}

/** As {@link sendNow}, of bytes that stay where they are. */
export function sendFrom(fd: number, address: number, length: number): number {
  for (;;) {
    const sent = libc.send(fd, address, length, libc.MSG_NOSIGNAL)
    if (sent !== -1) return sent
    const errno = libc.errno()
    if (errno !== libc.E.EINTR) return isShort(errno) ? 0 : -1
  }
}
