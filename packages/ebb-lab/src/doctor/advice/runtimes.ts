/** Advice about runtimes: which setting returns the memory that their heaps keep. */
import { duration, integer } from '../../units/format.js'
import type { PartKind } from '../parts.js'
import { bytesOf, type Findings, isWorth, onBytes, onCount, type Rule, type Words } from './advice.js'

/** Makes a rule for a runtime: the parts hold the figure. */
function heapOf(runtime: string, code: string, kinds: PartKind[], words: (found: Findings) => Words): Rule {
  return (found) => {
    const bytes = bytesOf(found, ...kinds)
    if (found.runtime.name !== runtime || !isWorth(bytes, found)) return undefined
    return onBytes(code, kinds.map((kind) => `parts.${kind}`).join(' + '), bytes, words(found))
  }
}

/** Returns a rule that gives its advice only for a process without `ebb/auto`. */
function withoutAuto(rule: Rule): Rule {
  return (found) => (found.hasAuto ? undefined : rule(found))
}

const node = heapOf('node', 'node-heap', ['v8', 'v8-large'], () => ({
  text: 'Start it with "node --import ebb/auto": it collects garbage and returns free pages 1 s after a spike.',
  reason: "are pages of V8's heap: live objects, and garbage and free pages that V8 keeps until it collects",
  source: 'https://nodejs.org/en/learn/diagnostics/memory/understanding-and-tuning-memory'
}))

const release: Rule = (found) => {
  const { expected = 0, stop = 0 } = found.inside?.release ?? {}
  // After a release, the figure is what is left of it.
  if (found.release !== null || !isWorth(expected, found)) return undefined
  return onBytes('node-release', 'inside.release.expected', expected, {
    text: 'Run "ebb doctor PID --release". ebb/auto releases memory after a spike if EBB_MAX_PAUSE allows the pause.',
    reason: `would be returned by a release, which stops the event loop for ${duration(stop)}`,
    source: 'https://nodejs.org/en/learn/diagnostics/memory/understanding-and-tuning-memory'
  })
}

/** Returns the bytes of objects in the spaces of V8's heap whose name begins with one of the prefixes. */
function usedIn({ inside }: Findings, prefix: string, figure: 'used' | 'physical'): number {
  const spaces = inside?.heap.spaces ?? []
  return spaces.reduce((sum, space) => sum + (space.name.startsWith(prefix) ? space[figure] : 0), 0)
}

const objects: Rule = (found) => {
  const bytes = usedIn(found, '', 'used') - usedIn(found, 'new_', 'used')
  if (!isWorth(bytes, found)) return undefined
  return onBytes('node-objects', 'inside.heap.spaces.used', bytes, {
    text: 'See which objects: take a heap snapshot (node --heapsnapshot-signal=SIGUSR2) and look for what refers to them.',
    reason: "are old objects of V8's heap: the program refers to them, or V8 has not collected them yet",
    source: 'https://nodejs.org/en/learn/diagnostics/memory/using-heap-snapshot'
  })
}

const buffers: Rule = (found) => {
  const bytes = found.inside?.heap.arrayBuffers ?? 0
  if (!isWorth(bytes, found)) return undefined
  return onBytes('node-buffers', 'inside.heap.arrayBuffers', bytes, {
    text: 'See what holds them: a heap snapshot lists them under system / JSArrayBufferData. Copy small parts of large ones.',
    reason:
      'are in Buffers and ArrayBuffers, which are outside of the heap and live as long as an object refers to them',
    source: 'https://nodejs.org/api/process.html#processmemoryusage'
  })
}

const young: Rule = (found) => {
  const bytes = usedIn(found, 'new_', 'physical')
  if (!isWorth(bytes, found)) return undefined
  return onBytes('node-young', 'inside.heap.spaces.new_space.physical', bytes, {
    text: 'Let a release shrink it, or keep it small: --max-semi-space-size=4 (MB), at the cost of more collections.',
    reason: 'are the young generation of V8: it grows with the rate of allocation, and shrinks only in a collection',
    source: 'https://nodejs.org/api/cli.html#--max-semi-space-sizesize-in-mib'
  })
}

/** Open connections above which parking is worth advice. */
const MANY_CONNECTIONS = 200
/** Bytes per connection above which compression of WebSockets is a likely cause (docs/guides/websockets.md). */
const DEFLATE_BYTES = 100_000

const connections: Rule = (found) => {
  const open = connectionsOf(found)
  // Parked connections are known from the inside, and cost next to nothing.
  const parked = found.inside?.servers?.reduce((sum, server) => sum + server.parked, 0) ?? 0
  if (found.runtime.name !== 'node' || open - parked < MANY_CONNECTIONS) return undefined
  return onCount('node-connections', 'descriptors.sockets.count["tcp ESTABLISHED"]', open, {
    text: 'Park idle connections with park() or "--import ebb/park". For HTTP, a short keepAliveTimeout closes them.',
    reason: 'connections are open: an idle one costs about 3.5 KB as a net.Socket, and about 100 bytes parked',
    source: 'https://nodejs.org/api/http.html#serverkeepalivetimeout'
  })
}

const deflate: Rule = (found) => {
  const open = connectionsOf(found)
  const bytes = bytesOf(found, 'heap', 'arenas', 'blocks')
  if (found.runtime.name !== 'node' || open < MANY_CONNECTIONS / 4 || bytes / open < DEFLATE_BYTES) return undefined
  return onBytes('node-deflate', 'parts.heap + parts.arenas + parts.blocks', bytes, {
    text: 'If it serves compressed WebSockets (ws): set serverNoContextTakeover, clientNoContextTakeover, a lower memLevel.',
    reason: `outside of V8 are ${integer(bytes / open / 1000)} kB for each of ${integer(open)} connections`,
    source: 'https://github.com/websockets/ws#websocket-compression'
  })
}

function connectionsOf({ descriptors }: Findings): number {
  return descriptors?.sockets.count['tcp ESTABLISHED'] ?? 0
}

const go = heapOf('go', 'go-heap', ['go', 'named'], () => ({
  text: 'Set GOMEMLIMIT to what it may use: Go then collects and returns more. debug.FreeOSMemory() returns all at once.',
  reason:
    'are the heap of Go and stacks of goroutines: it lets the heap double (GOGC=100), and returns pages over minutes',
  source: 'https://go.dev/doc/gc-guide#Memory_limit'
}))

const java = heapOf('java', 'java-heap', ['java'], () => ({
  text:
    'Set -XX:G1PeriodicGCInterval=10000 with G1 (JEP 346), or use ZGC with -XX:ZUncommitDelay=30; lower -Xms and ' +
    '-XX:MaxHeapFreeRatio.',
  reason:
    'are the Java heap: G1 returns memory only after a full collection or a concurrent cycle, so an idle JVM keeps it',
  source: 'https://openjdk.org/jeps/346'
}))

const zgc: Rule = (found) => {
  const heap = found.parts.find(({ kind, name }) => kind === 'shared' && name?.startsWith('/memfd:java_heap'))
  if (heap === undefined || !isWorth(heap.bytes, found)) return undefined
  return onBytes('java-zgc', 'parts.shared', heap.bytes, {
    text: 'Lower -XX:ZUncommitDelay (300 s by default), and leave -Xms below -Xmx.',
    reason: 'are the heap of ZGC, which older JVMs map up to three times, so that the kernel counts it more than once',
    source: 'https://openjdk.org/jeps/351'
  })
}

const dotnet = heapOf('dotnet', 'dotnet-heap', ['blocks', 'named'], () => ({
  text: 'Set DOTNET_GCConserveMemory=5, or DOTNET_GCDynamicAdaptationMode=1 (DATAS, .NET 8 and later).',
  reason: 'are anonymous mappings, where .NET has its heaps: Server GC keeps one for each core',
  source: 'https://learn.microsoft.com/en-us/dotnet/core/runtime-config/garbage-collector'
}))

const python = heapOf('python', 'python-arenas', ['blocks'], () => ({
  text: 'Run spikes in a process that ends (multiprocessing, max_requests), or set PYTHONMALLOC=malloc with jemalloc.',
  reason: 'are mapped blocks, arenas of pymalloc among them: an arena is returned only when every object in it is gone',
  source: 'https://docs.python.org/3/c-api/memory.html#the-pymalloc-allocator'
}))

const ruby = heapOf('ruby', 'ruby-heap', ['heap', 'arenas', 'blocks'], () => ({
  text: 'Preload jemalloc (LD_PRELOAD), or set MALLOC_ARENA_MAX=2; GC.compact fills the holes of the heap.',
  reason: "are Ruby's heap and malloc's: pages with one live object are kept",
  source: 'https://docs.ruby-lang.org/en/master/GC.html'
}))

const deno = heapOf('deno', 'deno-heap', ['v8', 'v8-large'], () => ({
  text: 'Start it with --v8-flags=--max-old-space-size=MB: V8 collects earlier.',
  reason: "are pages of V8's heap",
  source: 'https://docs.deno.com/runtime/reference/cli/run/'
}))

const bun = heapOf('bun', 'bun-heap', ['blocks', 'named'], () => ({
  text: 'Start it with bun --smol, and call Bun.gc(true) after a spike.',
  reason: "are mappings of Bun's allocators: JavaScriptCore and mimalloc keep freed pages for a while",
  source: 'https://bun.com/docs/project/benchmarking#memory-usage'
}))

export const RUNTIME_RULES: readonly Rule[] = [
  withoutAuto(node),
  release,
  objects,
  buffers,
  young,
  connections,
  deflate,
  go,
  java,
  zgc,
  dotnet,
  python,
  ruby,
  deno,
  bun
]
