/**
 * The C library, called through koffi. Only files of `sys/` import this module.
 *
 * The functions behave as in C: on failure they return -1 and set {@link errno}, which must be read before the next
 * call. {@link check} turns a failure into a Node-style error. Pointers are addresses as numbers, because user space on
 * Linux ends below 2^53. An address does not keep its buffer alive: the caller of {@link addressOf} must keep the
 * buffer in a field that is still read while the address is in use.
 */
import { createRequire } from 'node:module'
import { EbbError, systemError } from './errors.js'

type Koffi = typeof import('koffi')
type Call<A extends unknown[] = number[]> = (...args: A) => number

// `require`, not `import`: without koffi's binary this library still loads, and the first call says why it cannot work.
let koffi: Koffi | undefined
let reason: string | undefined
if (process.platform !== 'linux') reason = `it needs Linux (epoll); this is ${process.platform}`
else {
  try {
    koffi = createRequire(thisFile())('koffi') as Koffi
  } catch (error) {
    // The first line names the cause; the others list the modules that required it.
    const cause = (error as Error).message.split('\n', 1)[0]
    const remedy = 'it needs node_modules/koffi and node_modules/@koromix, also by a bundle; no --omit=optional'
    reason = `koffi cannot be loaded: ${cause} (${remedy})`
  }
}

/** Reason why the C library cannot be called, such as `it needs Linux (epoll); ...`; undefined if it can. */
export const unsupported: string | undefined = reason

// null loads the running program, because the C library's file name differs (glibc, musl), and a preloaded allocator
// must be found before the C library's own.
const program = koffi?.load(null)

function noLibc(): EbbError {
  return new EbbError('ERR_EBB_UNSUPPORTED', `ebb/sys cannot call the kernel here: ${reason}`)
}

/** Declares a function that every C library has. Without koffi, calling it throws `ERR_EBB_UNSUPPORTED`. */
function cFunction<A extends unknown[] = number[]>(definition: string): Call<A> {
  if (program === undefined) {
    return () => {
      throw noLibc()
    }
  }
  return program.func(definition) as unknown as Call<A>
}

/** Declares a function that not every C library has; undefined if it is missing. */
function optionalFunction<A extends unknown[] = number[]>(definition: string): Call<A> | undefined {
  try {
    return program?.func(definition) as unknown as Call<A> | undefined
  } catch {
    return undefined
  }
}

// Results are `int`, also where C has `ssize_t`: no call moves 2 GB, and koffi checks 64-bit results for BigInt.
export const socket = cFunction('int socket(int domain, int type, int protocol)')
export const bindAddress = cFunction('int bind(int fd, uintptr_t address, uint length)')
export const listenOn = cFunction('int listen(int fd, int backlog)')
export const accept4 = cFunction('int accept4(int fd, uintptr_t address, uintptr_t length, int flags)')
export const connect = cFunction('int connect(int fd, uintptr_t address, uint length)')
export const getsockname = cFunction('int getsockname(int fd, uintptr_t address, uintptr_t length)')
export const getpeername = cFunction('int getpeername(int fd, uintptr_t address, uintptr_t length)')
export const getsockopt = cFunction('int getsockopt(int fd, int level, int name, uintptr_t value, uintptr_t length)')
export const setsockopt = cFunction<[number, number, number, Int32Array, number]>(
  'int setsockopt(int fd, int level, int name, const void *value, uint length)'
)
export const recv = cFunction('int recv(int fd, uintptr_t buffer, size_t length, int flags)')
/** `send` from a buffer, which koffi pins during the call. Sends from the buffer's first byte on. */
export const sendBuffer = cFunction<[number, Uint8Array, number, number]>(
  'int send(int fd, void *buffer, size_t length, int flags)'
)
/** `send` from an address. */
export const send = cFunction('int send(int fd, uintptr_t buffer, size_t length, int flags)')
export const sendmsg = cFunction('int sendmsg(int fd, uintptr_t message, int flags)')
export const recvmsg = cFunction('int recvmsg(int fd, uintptr_t message, int flags)')
export const socketpair = cFunction('int socketpair(int domain, int type, int protocol, uintptr_t fds)')
/** `poll` of C. Blocks this thread for at most `timeout` ms. */
export const pollDescriptors = cFunction('int poll(uintptr_t fds, ulong count, int timeout)')
export const shutdown = cFunction('int shutdown(int fd, int how)')
export const close = cFunction('int close(int fd)')
/**
 * Variadic in C; declared with three arguments, because an `int` is passed the same way on every Linux that Node
 * supports.
 */
export const fcntl = cFunction('int fcntl(int fd, int command, int argument)')
export const dup3 = cFunction('int dup3(int from, int to, int flags)')
export const epollCreate = cFunction('int epoll_create1(int flags)')
export const epollControl = cFunction('int epoll_ctl(int epoll, int operation, int fd, uintptr_t event)')
export const epollWait = cFunction('int epoll_wait(int epoll, uintptr_t events, int most, int timeout)')
export const getrlimit = cFunction('int getrlimit(int resource, uintptr_t limit)')
/** Missing in old versions of glibc. */
export const memfdCreate = optionalFunction<[string, number]>('int memfd_create(const char *name, uint flags)')
/** Only in glibc. */
export const mallocTrim = optionalFunction('int malloc_trim(size_t pad)')
/** In glibc; in musl it exists and does nothing. */
export const mallopt = optionalFunction('int mallopt(int parameter, int value)')
export const getrusage = optionalFunction('int getrusage(int who, uintptr_t usage)')
export const malloc = optionalFunction('uintptr_t malloc(size_t size)')
export const free = optionalFunction('void free(uintptr_t block)')
export const getpagesize = optionalFunction<[]>('int getpagesize()')
export const usleep = optionalFunction('int usleep(uint us)')
export const usableSize = optionalFunction('size_t malloc_usable_size(uintptr_t block)')
export const sbrk = optionalFunction('uintptr_t sbrk(intptr_t by)')
export const madvise = optionalFunction('int madvise(uintptr_t start, size_t length, int advice)')
/** Only in jemalloc. */
export const mallctl = optionalFunction<[string, number, number, number, number]>(
  'int mallctl(const char *name, uintptr_t old, uintptr_t oldLength, uintptr_t new, size_t newLength)'
)
/** Only in mimalloc. */
export const miCollect = optionalFunction('void mi_collect(int force)')
/** Only in tcmalloc (gperftools). */
export const tcmallocRelease = optionalFunction<[]>('void MallocExtension_ReleaseFreeMemory()')
export const clockGettime = optionalFunction<[number, Uint32Array]>('int clock_gettime(int clock, _Out_ void *time)')
/** Missing in old versions of musl. */
export const statx = optionalFunction<[number, string, number, number, number]>(
  'int statx(int folder, const char *path, int flags, uint mask, uintptr_t buffer)'
)
const dlsym = optionalFunction<[number, string]>('uintptr_t dlsym(uintptr_t handle, const char *name)')
const dladdr = optionalFunction<[number, BigUint64Array]>('int dladdr(uintptr_t address, _Out_ void *info)')

/** `struct mallinfo2` of glibc (`man 3 mallinfo2`): bytes, except for the three numbers of chunks. */
export interface MallocTotals {
  arena: number
  ordblks: number
  smblks: number
  hblks: number
  hblkhd: number
  usmblks: number
  fsmblks: number
  uordblks: number
  fordblks: number
  keepcost: number
}

const MALLOC_TOTALS = [
  ...['arena', 'ordblks', 'smblks', 'hblks', 'hblkhd'],
  ...['usmblks', 'fsmblks', 'uordblks', 'fordblks', 'keepcost']
]

/** What glibc tells about its `malloc`. */
export interface MallocReports {
  /** Missing before glibc 2.33. */
  totals: (() => MallocTotals) | undefined
  /** Returns the XML of `malloc_info(3)`; undefined if there is no memory for it. */
  info(): string | undefined
}

/** Returns glibc's reports; undefined with other C libraries. Declares the functions, which few processes need. */
export function mallocReports(): MallocReports | undefined {
  const info = optionalFunction('int malloc_info(int options, uintptr_t stream)')
  const openMemory = optionalFunction('uintptr_t open_memstream(uintptr_t text, uintptr_t length)')
  const close = optionalFunction('int fclose(uintptr_t stream)')
  const copy = optionalFunction<[Uint8Array, number, number]>(
    'uintptr_t memcpy(_Out_ void *to, uintptr_t from, size_t length)'
  )
  if (info === undefined || openMemory === undefined || close === undefined || copy === undefined) return undefined
  return {
    totals: mallinfo2(),
    info() {
      const pointers = new BigUint64Array(2)
      const stream = openMemory(addressOf(pointers), addressOf(pointers) + 8)
      if (stream === 0) return undefined
      info(0, stream)
      close(stream)
      const [address, length] = [Number(pointers[0]), Number(pointers[1])]
      const text = Buffer.alloc(length)
      copy(text, address, length)
      free?.(address)
      return text.toString('latin1')
    }
  }
}

function mallinfo2(): (() => MallocTotals) | undefined {
  try {
    const result = koffi?.struct(Object.fromEntries(MALLOC_TOTALS.map((name) => [name, 'size_t'])))
    return result && (program?.func('mallinfo2', result, []) as unknown as () => MallocTotals)
  } catch {
    return undefined
  }
}

/**
 * Calls a function of the C library on a thread of libuv's pool. Holds the process open until it returns.
 *
 * @throws Error (rejected) if this Node cannot queue the call
 */
export function callOnPool<A extends unknown[]>(call: Call<A>, ...args: A): Promise<number> {
  return new Promise((resolve, reject) => {
    const queue = call as Call<A> & { async(...args: unknown[]): void }
    queue.async(...args, (error: Error | null, result: number) => (error ? reject(error) : resolve(result)))
  })
}

/** Returns the errno of the last call on this thread. */
export function errno(): number {
  return koffi === undefined ? 0 : koffi.errno()
}

/** Returns the address of a buffer's first byte. The caller must keep the buffer: see the top of this file. */
export function addressOf(buffer: ArrayBufferView): number {
  return koffi === undefined ? 0 : Number(koffi.address(buffer))
}

/**
 * Returns the base address of the shared object or program that defines `symbol`, by the process's own look-up order; 0
 * if none does.
 */
export function objectOf(symbol: string): number {
  const address = Number(dlsym?.(0, symbol) ?? 0)
  // Dl_info: file name, base, symbol's name, symbol's address.
  const info = new BigUint64Array(4)
  return address === 0 || !dladdr?.(address, info) ? 0 : Number(info[1])
}

/**
 * Returns `result` unless it is -1.
 *
 * @throws {SystemError} for the current errno if it is
 */
export function check(result: number, syscall: string, what?: string): number {
  if (result === -1) throw systemError(syscall, errno(), what)
  return result
}

/** libuv's watch over one descriptor. It starts unref'd, and must be kept referenced: garbage collection ends it. */
export interface PollHandle {
  ref(): void
  unref(): void
  close(): void
}

/**
 * Watches `fd` for readability. `ready` is called without a callback scope of Node, so it must call no code of the
 * program.
 *
 * Must not be called in a worker thread: koffi 3.3.4 closes its handle after the worker's event loop is gone, which
 * crashes the process. Use `node/epoll-watch.ts`.
 *
 * @throws {EbbError} `ERR_EBB_UNSUPPORTED` without koffi
 */
export function poll(fd: number, ready: () => void): PollHandle {
  if (koffi === undefined) throw noLibc()
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
