/** Socket options. The values are buffers that koffi pins for the call: these are not on any hot path. */
import * as libc from './libc.js'

/** @throws {SystemError} */
export function setOption(fd: number, level: number, name: number, ...value: number[]): void {
  const bytes = new Int32Array(value)
  libc.check(libc.setsockopt(fd, level, name, bytes, bytes.byteLength), 'setsockopt')
}

/** `SO_ERROR`: the errno that waits on a socket, which this call takes off it; 0: none. */
export function takeError(fd: number): number {
  const value = new Int32Array(1)
  libc.getsockopt(fd, libc.SOL_SOCKET, libc.SO_ERROR, value, new Uint32Array([4]))
  return value[0] as number
}
