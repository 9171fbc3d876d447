/** Constants of Linux's and glibc's headers. Every folder may use them, while only `sys/` calls the C library. */
import { constants } from 'node:os'

/** Error numbers by name: `E.EAGAIN`. */
export const E = constants.errno
/** Too many descriptors of this user are in messages that nobody has received. Node has no name for it. */
export const ETOOMANYREFS = 109

// Parameters of `mallopt` (`malloc.h`).
export const M_TRIM_THRESHOLD = -1
export const M_TOP_PAD = -2
export const M_MMAP_THRESHOLD = -3

// Constants of Linux's headers. They are the same on every architecture that Node supports.
export const AF_UNIX = 1
export const AF_INET = 2
export const AF_INET6 = 10
export const SOCK_STREAM = 1
export const SOCK_DGRAM = 2
export const SOCK_SEQPACKET = 5
export const SOCK_NONBLOCK = 0o4000
export const SOCK_CLOEXEC = 0o2000000
export const SOL_SOCKET = 1
export const SO_REUSEADDR = 2
export const SO_TYPE = 3
export const SO_ERROR = 4
export const SO_ACCEPTCONN = 30
export const SO_PEERCRED = 17
export const SO_KEEPALIVE = 9
export const SO_LINGER = 13
export const SO_REUSEPORT = 15
export const SO_ATTACH_FILTER = 26
export const SO_MEMINFO = 55
export const SO_COOKIE = 57
export const IPPROTO_IP = 0
export const IPPROTO_TCP = 6
export const IPPROTO_IPV6 = 41
export const TCP_NODELAY = 1
export const TCP_KEEPIDLE = 4
export const TCP_KEEPINTVL = 5
export const TCP_KEEPCNT = 6
export const TCP_INFO = 11
export const IPV6_V6ONLY = 26
export const IP_BIND_ADDRESS_NO_PORT = 24
export const MSG_PEEK = 0x2
export const MSG_NOSIGNAL = 0x4000
export const MSG_CTRUNC = 0x8
export const MSG_TRUNC = 0x20
export const MSG_DONTWAIT = 0x40
export const MSG_CMSG_CLOEXEC = 0x40000000
export const SCM_RIGHTS = 1
export const POLLIN = 1
export const POLLOUT = 4
export const SHUT_RD = 0
export const SHUT_WR = 1
export const SHUT_RDWR = 2
export const F_DUPFD_CLOEXEC = 1030
export const F_ADD_SEALS = 1033
export const F_GET_SEALS = 1034
export const F_SEAL_SEAL = 0x1
export const F_SEAL_SHRINK = 0x2
export const F_SEAL_GROW = 0x4
export const F_SEAL_WRITE = 0x8
export const MFD_CLOEXEC = 0x1
export const MFD_ALLOW_SEALING = 0x2
export const O_CLOEXEC = 0o2000000
export const EPOLL_CLOEXEC = 0o2000000
export const EPOLL_ADD = 1
export const EPOLL_DEL = 2
export const EPOLL_MOD = 3
export const EPOLLIN = 0x001
export const EPOLLPRI = 0x002
export const EPOLLOUT = 0x004
export const EPOLLERR = 0x008
export const EPOLLHUP = 0x010
export const EPOLLRDHUP = 0x2000
/** Edge-triggered. Negative, because events are a signed 32-bit number here. */
export const EPOLLET = 1 << 31
export const RLIMIT_NOFILE = 7
