/** Who is at the other end of a Unix socket. */
import { systemError } from './errors.js'
import * as libc from './libc.js'

/** The process at the other end, as it was when it connected or began to listen. */
export interface PeerCredentials {
  pid: number
  uid: number
  gid: number
}

/** Returns who is at the other end of a Unix socket. @throws {SystemError} of `getsockopt` */
export function peerOf(fd: number): PeerCredentials {
  const value = new Int32Array(3)
  const length = new Uint32Array([value.byteLength])
  const [valueAt, lengthAt] = [libc.addressOf(value), libc.addressOf(length)]
  libc.check(libc.getsockopt(fd, libc.SOL_SOCKET, libc.SO_PEERCRED, valueAt, lengthAt), 'getsockopt')
  if (length[0] !== value.byteLength) throw systemError('getsockopt', libc.E.EINVAL)
  const [pid = 0, uid = 0, gid = 0] = value
  return { pid, uid: uid >>> 0, gid: gid >>> 0 }
}
