/** Examines a process from `/proc`: where its memory is, and what would bring it back. */
import { ProcessError, ProcessView, readStat } from 'ebb/memory'
import { checkBoolean, checkFromZero, checkObject, warnOfUnknown } from 'ebb/sys'
import { commandOf, nameOf } from '../process/describe.js'
import { loadsAuto } from '../process/inside-socket.js'
import { isDenied, isGone } from '../process/sockets.js'
import { codeOf, DoctorError, LabError, reasonOf } from '../units/errors.js'
import { adviseOn } from './advice/advise.js'
import { readCgroup } from './cgroup.js'
import { limitOf, readDescriptors } from './descriptors.js'
import type { Diagnosis, InsideResult, MemoryTotals } from './diagnosis.js'
import { linkOrNothing, readOrNothing } from './files.js'
import { hugePages } from './huge-pages.js'
import { readInside, releaseOf } from './inside.js'
import { mallocUse } from './malloc.js'
import { type Mapping, readMappings } from './mappings.js'
import { Pages } from './pages.js'
import { type Part, type Sorted, sortMappings } from './parts.js'
import { runtimeOf } from './runtime.js'
import { readThreads } from './threads.js'
import { watch } from './trend.js'

/** Options of {@link diagnose}. */
export interface DiagnoseOptions {
  /** Milliseconds to watch the memory for the trend. Default: 3,000; 0 for no trend. */
  watch?: number
  /**
   * Whether to make the process release its memory at the end. It must have loaded `ebb/auto`, unless `inspect`
   * is true. Default: false.
   */
  release?: boolean
  /**
   * Whether to ask a Node process without `ebb/auto` through its inspector. That sends it SIGUSR1, which opens a port
   * on 127.0.0.1 for a moment and prints lines on its standard error. Default: false.
   */
  inspect?: boolean
  /** Ends the watching early. */
  signal?: AbortSignal
}

const NAMES = Object.keys({ watch: 0, release: 0, inspect: 0, signal: 0 } satisfies Record<keyof DiagnoseOptions, 0>)
const WATCH = 3000
/** Stack of a thread if the limit is unlimited, bytes: glibc's default. */
const DEFAULT_STACK = 8_388_608

/**
 * Finds out where the memory of a process is. Any process, in any language: what it reads is in `/proc`. Reads the
 * mappings once, and does not stop the process.
 *
 * @throws TypeError `ERR_INVALID_ARG_VALUE` for an invalid option
 * @throws ProcessError if there is no such process, if it has ended, is a zombie or a kernel thread
 * @throws DoctorError: `EACCES` if this user may not look into the process; `ENOTSUP` if it cannot be made to release
 *   memory
 */
export async function diagnose(pid: number, options: DiagnoseOptions = {}): Promise<Diagnosis> {
  checkObject(options, 'options of diagnose()')
  warnOfUnknown(options, NAMES, 'diagnose()')
  const { watch: over = WATCH, release = false, inspect = false, signal } = options
  checkFromZero(over, 'watch', 'ms')
  checkBoolean(release, 'release')
  checkBoolean(inspect, 'inspect')
  const view = new ProcessView(pid)
  const pages = Pages.open(pid)
  try {
    const examined = await examine(view, pages)
    const asked = await insideOf(examined, inspect)
    const { inside, why } = asked
    if (release && inside === null) throw noRelease(pid, why)
    const trend = over === 0 ? null : await watch(view, over, signal)
    const notes = [...examined.notes, ...asked.notes]
    if ((trend?.over ?? 0) < over && signal?.aborted !== true) notes.push('the process ended while it was watched')
    else if (over > 0 && trend === null) notes.push('the process could not be watched')
    if (why !== null) notes.push(`the inside of Node is not known: ${it(why)}`)
    const done = inside !== null && release ? await releaseOf(view, asked, examined) : null
    const found = { ...examined, inside, release: done, trend, notes }
    return { ...found, advice: adviseOn(found) }
  } catch (error) {
    // Some of its files were read by name, after it had ended.
    if (error instanceof ProcessError || error instanceof LabError || !isGone(error)) throw error
    throw new DoctorError(`process ${pid} has ended`, 'ESRCH', 'read', error)
  } finally {
    pages?.close()
    view.close()
  }
}

type Examined = Omit<Diagnosis, 'advice' | 'trend' | 'inside' | 'release'>

/** Asks a Node process for its inside. A stopped process does not answer. */
async function insideOf({ pid, runtime, state, parts, malloc }: Examined, inspect: boolean): Promise<InsideResult> {
  const unknown = { inside: null, why: null, isInspected: false, notes: [] }
  if (runtime.name !== 'node') return unknown
  if (isStopped(state)) return { ...unknown, why: 'it is stopped' }
  return await readInside(pid, { parts, malloc }, inspect)
}

function noRelease(pid: number, why: string | null): DoctorError {
  const text = why === null ? 'it is not a Node process' : it(why)
  return new DoctorError(`process ${pid} cannot be made to release memory: ${text}`, 'ENOTSUP')
}

/** Returns a reason without the name of the process, for a sentence that has named it already. */
function it(why: string): string {
  return why.replace(/^process \d+ /, 'it ')
}

function isStopped(state: string): boolean {
  return state === 'T' || state === 't'
}

async function examine(view: ProcessView, pages: Pages | undefined): Promise<Examined> {
  const { pid } = view
  const mappings = mappingsOf(pid)
  const { resident, anonymous, file, swapped, peak, threads: count } = view.status()
  const threads = readThreads(pid)
  const runtime = await runtimeOf(pid, mappings)
  const stackLimit = limitOf(pid, 'Max stack size') ?? DEFAULT_STACK
  const sorted = sortMappings({ mappings, runtime, threads, pages, stackLimit })
  const sum = (of: (mapping: Mapping) => number): number => mappings.reduce((total, each) => total + of(each), 0)
  const memory: MemoryTotals = {
    ...{ resident, anonymous, file, swapped, peak },
    pageTables: pageTablesOf(pid),
    lazy: sum(({ lazy }) => lazy),
    reserved: sum(({ reserved }) => reserved)
  }
  const notes: string[] = []
  const descriptors = allowed(() => readDescriptors(pid))
  if (descriptors === null) notes.push('the descriptors belong to another user: run as that user or as root')
  if (pages === undefined) notes.push('the pages cannot be looked into (ptrace is not allowed): run as root for more')
  const { state } = readStat(pid)
  if (isStopped(state)) notes.push('the process is stopped: it runs on after SIGCONT')
  if (isElsewhere(pid, 'pid')) notes.push('the process runs in a container: paths of files are those of the container')
  return {
    version: 1,
    pid,
    name: nameOf(pid, commandOf(pid)),
    runtime,
    state,
    memory,
    parts: withUnknown(sorted.parts, anonymous),
    mappings: { count: mappings.length, limit: numberIn('/proc/sys/vm/max_map_count') },
    threads: { count, stacks: sorted.stacks },
    malloc: mallocOf(sorted, pages),
    hugePages: (pages && hugePages(mappings, pages)) ?? null,
    descriptors,
    cgroup: readCgroup(pid),
    hasAuto: runtime.name === 'node' && loadsAuto(pid),
    notes
  }
}

function mappingsOf(pid: number): Mapping[] {
  try {
    return readMappings(pid)
  } catch (error) {
    if (isGone(error)) return []
    const why = isDenied(error) ? 'this user may not look into it: run as its user or as root' : reasonOf(error)
    throw new DoctorError(`the memory of process ${pid} cannot be read: ${why}`, codeOf(error), 'open', error)
  }
}

/** Returns the parts, and what of the anonymous memory none of them explains. */
function withUnknown(parts: readonly Part[], anonymous: number): Part[] {
  const known = parts.reduce((sum, { group, bytes }) => sum + (group === 'anonymous' ? bytes : 0), 0)
  const bytes = Math.max(0, anonymous - known)
  if (bytes === 0) return [...parts]
  const unknown: Part = { kind: 'unknown', group: 'anonymous', name: null, bytes, huge: 0, swapped: 0, mappings: 0 }
  return [...parts, unknown].sort((a, b) => b.bytes - a.bytes)
}

function mallocOf({ heaps }: Sorted, pages: Pages | undefined): Diagnosis['malloc'] {
  return (pages && mallocUse(pages, heaps)) ?? null
}

/** Returns the page tables of a process; 0 if the kernel does not tell. */
function pageTablesOf(pid: number): number {
  return Number(/^VmPTE:\s+(\d+)/m.exec(readOrNothing(`/proc/${pid}/status`))?.[1] ?? 0) * 1024
}

/** Whether a process is in another namespace than this one. False if this user may not know it. */
function isElsewhere(pid: number, namespace: string): boolean {
  const [own, other] = ['self', pid].map((each) => linkOrNothing(`/proc/${each}/ns/${namespace}`))
  return other !== '' && own !== other
}

function numberIn(file: string): number | null {
  const text = readOrNothing(file)
  return text === '' ? null : Number(text)
}

function allowed<T>(read: () => T): T | null {
  try {
    return read()
  } catch (error) {
    if (isDenied(error)) return null
    throw error
  }
}
