/** From a sample to the rows of a table: filtered, sorted, with the processes of servers that are expanded. */
import type { BoxSample, Listen, ServerSample } from '../sample.js'

/** One line of the table: a server, or one of its processes, of which less is known. */
export interface Row extends Omit<ServerSample, 'processes'> {
  kind: 'server' | 'process'
  /** Number of processes; 1 for a process. */
  processes: number
  isExpanded: boolean
  /** Anonymous memory of the latest samples, the newest last. */
  trend: readonly number[]
}

/** What a person has chosen to see. */
export interface View {
  sort: SortKey
  /** Whether the order is turned around. */
  reversed: boolean
  /** Rows must contain it in their name, pid, port or path. Case does not matter. */
  filter: string
  /** Ids of the servers whose processes are shown. */
  expanded: ReadonlySet<string>
}

/** Values by which rows can be sorted. Names and addresses begin with the smallest, figures with the largest. */
const SORT_VALUES = {
  name: ({ name }: Row) => name.toLowerCase(),
  pid: ({ pid }: Row) => pid,
  address: ({ listens: [first] }: Row) => (first?.type === 'tcp' ? first.port : Number.MAX_SAFE_INTEGER),
  clients: ({ clients }: Row) => clients,
  anonymous: ({ anonymous }: Row) => anonymous,
  resident: ({ resident }: Row) => resident,
  released: ({ inside }: Row) => inside?.released ?? null,
  peak: ({ sincePeak }: Row) => sincePeak?.ratio ?? null,
  releases: ({ inside }: Row) => inside?.releases ?? null,
  pause: ({ inside }: Row) => inside?.longestPause ?? null,
  parked: ({ inside }: Row) => inside?.parked ?? null,
  awake: ({ inside }: Row) => inside?.awake ?? null,
  pressure: ({ pressure }: Row) => pressure,
  cpu: ({ cpu }: Row) => cpu
} satisfies Record<string, (row: Row) => string | number | null>

/** A column that rows can be sorted by. */
export type SortKey = keyof typeof SORT_VALUES
/** All columns that rows can be sorted by. */
export const SORT_KEYS = Object.keys(SORT_VALUES) as SortKey[]

/** Columns that begin with the smallest. */
export const ASCENDING: ReadonlySet<SortKey> = new Set(['name', 'pid', 'address'])

/** Returns the rows of a sample. */
export function rowsOf(sample: BoxSample, view: View, trends: Trends = new Trends()): Row[] {
  const servers = sample.servers.filter((server) => matchesText(server, view.filter))
  const rows = servers.map((server) => ({ server, row: serverRow(server, view, trends) }))
  rows.sort((a, b) => compare(a.row, b.row, view))
  return rows.flatMap(({ server, row }) => (row.isExpanded ? [row, ...processRows(server, trends)] : [row]))
}

function serverRow(server: ServerSample, { expanded }: View, trends: Trends): Row {
  const { processes, ...figures } = server
  return {
    ...figures,
    kind: 'server',
    processes: processes.length,
    isExpanded: expanded.has(server.id) && processes.length > 1,
    trend: trends.of(server.id)
  }
}

function processRows(server: ServerSample, trends: Trends): Row[] {
  return server.processes.map(({ pid, name, listens, anonymous, resident, inside }) => {
    const id = processId(server, pid)
    // Which process has a connection is not known without looking at all its descriptors.
    const own = { clients: null, cpu: null, sincePeak: null, pressure: null }
    return {
      ...own,
      id,
      kind: 'process',
      pid,
      name,
      listens,
      processes: 1,
      isExpanded: false,
      anonymous,
      resident,
      inside,
      trend: trends.of(id)
    }
  })
}

function processId(server: ServerSample, pid: number): string {
  return `${server.id}/${pid}`
}

/** Sorts what is not known to the end, and what is equal by pid. */
function compare(a: Row, b: Row, { sort, reversed }: View): number {
  const value = SORT_VALUES[sort]
  const [left, right] = [value(a), value(b)]
  if (left === null || right === null) return Number(left === null) - Number(right === null) || a.pid - b.pid
  const order = left < right ? -1 : left > right ? 1 : 0
  return order * (ASCENDING.has(sort) === reversed ? -1 : 1) || a.pid - b.pid
}

/** Whether a server's name, a process of it or an address contains a text. `:80` is the port 80 and no other. */
function matchesText({ name, listens, processes }: ServerSample, text: string): boolean {
  const wanted = text.trim().toLowerCase()
  if (wanted === '') return true
  const port = /^:(\d+)$/.exec(wanted)?.[1]
  if (port !== undefined) return listens.some((listen) => listen.type === 'tcp' && listen.port === Number(port))
  const texts = [
    name,
    ...processes.flatMap((process) => [process.name, String(process.pid)]),
    ...listens.map(addressOf)
  ]
  return texts.some((candidate) => candidate.toLowerCase().includes(wanted))
}

/** Returns an address as text: `127.0.0.1:80`, `[::]:80`, `*:80` or a path. */
export function addressOf(listen: Listen): string {
  if (listen.type === 'unix') return listen.path
  const { host, port } = listen
  if (host === '0.0.0.0' || host === '::') return `*:${port}`
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

/** Samples of a trend that are kept. */
const LENGTH = 120

/** The anonymous memory of servers and processes over the latest samples. */
export class Trends {
  readonly #values = new Map<string, number[]>()

  /** Adds a sample, and forgets servers that are not in it. */
  add({ servers }: BoxSample): void {
    const present = new Set<string>()
    const push = (id: string, value: number): void => {
      present.add(id)
      const values = this.#values.get(id) ?? []
      this.#values.set(id, values)
      if (values.push(value) > LENGTH) values.shift()
    }
    for (const server of servers) {
      push(server.id, server.anonymous)
      for (const { pid, anonymous } of server.processes) push(processId(server, pid), anonymous)
    }
    for (const id of this.#values.keys()) if (!present.has(id)) this.#values.delete(id)
  }

  /** Returns the values of a server or process, the newest last. */
  of(id: string): readonly number[] {
    return this.#values.get(id) ?? []
  }
}
