/**
 * The C library, called through koffi: this file is the only one that does.
 *
 * Calls are as C has them: they return -1 and leave `errno()`, which is read at once or not at all; {@link check} turns
 * that into a Node-style error. Pointers are addresses as numbers (user space on Linux ends below 2^53): a koffi call with
 * an address costs about 0.25 us, with a buffer a little more. An address does not keep its buffer alive, so whoever
 * calls {@link addressOf} keeps the buffer in a field that is read as long as the address is used.
 */
import { createRequire } from 'node:module'
import { systemError } from './errors.js'

type Koffi = typeof import('koffi')
type Call<A extends unknown[] = number[]> = (...args: A) => number

// `require`, not `import`: a machine without koffi's binary still loads this library, and is told why at the first call.
let koffi: Koffi | undefined
let reason: string | undefined
if (process.platform !== 'linux') reason = `it needs Linux (epoll); this is ${process.platform}`
else {
  try {
    koffi = createRequire(thisFile())('koffi') as Koffi
  } catch (error) {
    // The first line says what; the others list who asked for it.
    reason = `koffi cannot be loaded: ${(error as Error).message.split('\n', 1)[0]}`
  }
}

/** Why the kernel cannot be called from here, as the rest of a sentence; undefined where it can. */
export const unsupported: string | undefined = reason

// null: the process itself. glibc and musl have different names, and a preloaded allocator must win.
const process_ = koffi?.load(null)

export function unsupportedError(why = reason): Error {
  return Object.assign(new Error(`ebb cannot park connections here: ${why}`), { code: 'ERR_EBB_UNSUPPORTED' })
}

function bind<A extends unknown[] = number[]>(definition: string): Call<A> {
  if (process_ === undefined) {
    return () => {
      throw unsupportedError()
    }
  }
  return process_.func(definition) as unknown as Call<A>
}

/** As {@link bind}, for what not every C library has: undefined where it is missing. */
function bindOptional<A extends unknown[] = number[]>(definition: string): Call<A> | undefined {
  try {
    return process_?.func(definition) as unknown as Call<A> | undefined
  } catch {
    return undefined
  }
}

// Lengths are `int` on purpose: nothing here moves 2 GB at once, and a 32-bit result needs no BigInt check.
export const socket = bind('int socket(int domain, int type, int protocol)')
export const bindAddress = bind('int bind(int fd, uintptr_t address, uint length)')
export const listenOn = bind('int listen(int fd, int backlog)')
export const accept4 = bind('int accept4(int fd, uintptr_t address, uintptr_t length, int flags)')
export const connect = bind('int connect(int fd, uintptr_t address, uint length)')
export const getsockname = bind('int getsockname(int fd, uintptr_t address, uintptr_t length)')
export const getpeername = bind('int getpeername(int fd, uintptr_t address, uintptr_t length)')
export const getsockopt = bind<[number, number, number, Int32Array, Uint32Array]>(
  'int getsockopt(int fd, int level, int name, _Inout_ void *value, _Inout_ void *length)'
)
export const setsockopt = bind<[number, number, number, Int32Array, number]>(
  'int setsockopt(int fd, int level, int name, const void *value, uint length)'
)
export const recv = bind('int recv(int fd, uintptr_t buffer, size_t length, int flags)')
/** `send` from a buffer that koffi pins for the call; its first byte is the first byte sent. */
export const sendBuffer = bind<[number, Uint8Array, number, number]>(
  'int send(int fd, void *buffer, size_t length, int flags)'
)
/** `send` from an address. */
export const send = bind('int send(int fd, uintptr_t buffer, size_t length, int flags)')
export const shutdown = bind('int shutdown(int fd, int how)')
export const close = bind('int close(int fd)')
/** Declared with three arguments: variadic in C, which passes an `int` in the same register on every Linux that Node runs on. */
export const fcntl = bind('int fcntl(int fd, int command, int argument)')
export const dup3 = bind('int dup3(int from, int to, int flags)')
export const epollCreate = bind('int epoll_create1(int flags)')
export const epollControl = bind('int epoll_ctl(int epoll, int operation, int fd, uintptr_t event)')
export const epollWait = bind('int epoll_wait(int epoll, uintptr_t events, int most, int timeout)')
export const getrlimit = bind('int getrlimit(int resource, uintptr_t limit)')
/** glibc only. */
export const mallocTrim = bindOptional('int malloc_trim(size_t pad)')
/** glibc; musl has it, and it does nothing there. */
export const mallopt = bindOptional('int mallopt(int parameter, int value)')
export const getrusage = bindOptional('int getrusage(int who, uintptr_t usage)')
/** jemalloc only. */
export const mallctl = bindOptional<[string, number, number, number, number]>(
  'int mallctl(const char *name, uintptr_t old, uintptr_t oldLength, uintptr_t new, size_t newLength)'
)
/** mimalloc only. */
export const miCollect = bindOptional('void mi_collect(int force)')
/** tcmalloc (gperftools) only. */
export const tcmallocRelease = bindOptional<[]>('void MallocExtension_ReleaseFreeMemory()')
export const clockGettime = bindOptional<[number, BigInt64Array]>('int clock_gettime(int clock, _Out_ void *time)')
/** Not in every musl. */
export const statx = bindOptional<[number, string, number, number, number]>(
  'int statx(int folder, const char *path, int flags, uint mask, uintptr_t buffer)'
)
const dlsym = bindOptional<[number, string]>('uintptr_t dlsym(uintptr_t handle, const char *name)')
const dladdr = bindOptional<[number, BigUint64Array]>('int dladdr(uintptr_t address, _Out_ void *info)')

/** errno of the last call on this thread. */
export function errno(): number {
  return koffi === undefined ? 0 : koffi.errno()
}

/** The address of a buffer's first byte. The caller keeps the buffer: see above. */
export function addressOf(buffer: ArrayBufferView): number {
  return koffi === undefined ? 0 : Number(koffi.address(buffer))
}

/** Where the shared object (or program) begins that a symbol comes from, in the order in which the process looks; 0: there is none. */
export function objectOf(symbol: string): number {
  const address = Number(dlsym?.(0, symbol) ?? 0)
  // Dl_info: file name, base, symbol's name, symbol's address.
  const info = new BigUint64Array(4)
  return address === 0 || !dladdr?.(address, info) ? 0 : Number(info[1])
}

/** A result that is not -1, or the error that the call left. */
export function check(result: number, syscall: string, what?: string): number {
  if (result === -1) throw systemError(syscall, errno(), what)
  return result
}

/** libuv's watch over one descriptor. Unref'd; stays alive only while something refers to it. */
export interface PollHandle {
  ref(): void
  unref(): void
  close(): void
}

/**
 * Watches `fd` for readability. Node 26 runs no ticks and promises after `ready`: the caller sees to them.
 *
 * Not in a worker thread: koffi closes its handle after the worker's event loop is gone, which ends the whole process (SIGSEGV,
 * koffi 3.3.4). See `worker-poll.ts`.
 *
 * @throws `ERR_EBB_UNSUPPORTED` without koffi
 */
export function poll(fd: number, ready: () => void): PollHandle {
  if (koffi === undefined) throw unsupportedError()
  const handle = koffi.node.poll(fd, { readable: true }, ready)
  handle.unref()
  return handle
}

export * from './constants.js'

/**
 * Returns the file from which `node_modules` is searched. A bundler that writes CommonJS leaves `import.meta` empty;
 * its output has `__filename`.
 */
function thisFile(): string {
  return import.meta.url ?? __filename
}
