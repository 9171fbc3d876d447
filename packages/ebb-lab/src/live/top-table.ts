/** The table of servers on the page of `ebb top`. Its figures are texts, which change without a new table. */
import { escapeHtml } from '../report/page/escape.js'
import { scrolling } from '../report/page/tables.js'
import type { ServerSample } from '../top/sample.js'
import { ASCENDING, addressOf, type SortKey } from '../top/view/rows.js'
import { integer, megabytes, ratio } from '../units/format.js'
import { clean, fit } from '../units/text.js'
import { shortName } from './top-servers.js'

/** A column of the table. */
interface Column {
  title: string
  sort: SortKey
  /** What the column shows, for a pointer that rests on its title. */
  meaning: string
  cell: (server: ServerSample) => string
}

const ADDRESS_COLUMNS = 32

const COLUMNS: readonly Column[] = [
  {
    title: 'clients',
    sort: 'clients',
    meaning: 'Established connections at its addresses',
    cell: ({ clients }) => count(clients)
  },
  {
    title: 'anonymous',
    sort: 'anonymous',
    meaning: 'Memory with no file behind it',
    cell: ({ anonymous }) => megabytes(anonymous)
  },
  {
    title: 'xPRE',
    sort: 'peak',
    meaning:
      'Anonymous memory now, as a multiple of what the server held with as many clients before the last peak of clients',
    cell: ({ sincePeak }) => ratio(sincePeak?.ratio ?? null)
  },
  {
    title: 'resident',
    sort: 'resident',
    meaning: 'Memory that is present',
    cell: ({ resident }) => megabytes(resident)
  },
  {
    title: 'released',
    sort: 'released',
    meaning: 'Memory that its releases returned (ebb/auto)',
    cell: ({ inside }) => megabytes(inside?.released ?? null)
  },
  {
    title: 'releases',
    sort: 'releases',
    meaning: 'Number of its releases (ebb/auto)',
    cell: ({ inside }) => count(inside?.releases ?? null)
  },
  {
    title: 'pause',
    sort: 'pause',
    meaning: 'Longest pause by a release (ebb/auto)',
    // Always in ms, because the script of the page sorts by the number.
    cell: ({ inside }) => (inside === null || inside.releases === 0 ? '-' : `${inside.longestPause.toFixed(1)} ms`)
  },
  {
    title: 'parked',
    sort: 'parked',
    meaning: 'Connections without a socket (ebb/auto)',
    cell: ({ inside }) => count(inside?.parked ?? null)
  },
  {
    title: 'awake',
    sort: 'awake',
    meaning: 'Connections of parked servers that have a socket (ebb/auto)',
    cell: ({ inside }) => count(inside?.awake ?? null)
  },
  {
    title: 'pressure',
    sort: 'pressure',
    meaning: 'Share of the last 10 s in which a task of its cgroup waited for memory',
    cell: ({ pressure }) => percent(pressure)
  },
  {
    title: 'CPU',
    sort: 'cpu',
    meaning: 'CPU time since the last sample; 100 % is a whole CPU',
    cell: ({ cpu }) => percent(cpu)
  },
  { title: 'pid', sort: 'pid', meaning: 'Main process', cell: ({ pid }) => String(pid) },
  { title: 'address', sort: 'address', meaning: 'Where it listens', cell: addressesOf }
]

/** Returns the table. A button in each title sorts it by the numbers in its cells. At first, it is sorted by `sort`. */
export function topTable(servers: readonly ServerSample[], sort: SortKey, isReversed: boolean): string {
  const name = {
    title: 'server',
    sort: 'name' as const,
    meaning: 'Name of the main process, and its first port or path'
  }
  const heads = [name, ...COLUMNS].map((column) => head(column, column.sort === sort, isReversed))
  const rows = servers.map((server) => {
    const cells = COLUMNS.map(({ sort: key }) => `<td id="${cellId(server.id, key)}">-</td>`)
    return `<tr><th scope="row">${escapeHtml(shortName(server))}</th>${cells.join('')}</tr>`
  })
  const table = `<table class="sortable"><thead><tr>${heads.join('')}</tr></thead><tbody>${rows.join('')}</tbody></table>`
  return `<section><h2>Servers</h2>${scrolling('Servers', table)}</section>`
}

/** Returns the texts of the cells, by the ids of their elements. */
export function topTexts(servers: readonly ServerSample[]): [string, string][] {
  return servers.flatMap((server) =>
    COLUMNS.map(({ sort, cell }): [string, string] => [cellId(server.id, sort), cell(server)])
  )
}

function head({ title, sort, meaning }: Omit<Column, 'cell'>, isSorted: boolean, isReversed: boolean): string {
  const isAscending = ASCENDING.has(sort)
  const order = isAscending ? 'ascending' : 'descending'
  const sorted = isSorted ? ` aria-sort="${isAscending === isReversed ? 'descending' : 'ascending'}"` : ''
  return `<th scope="col" data-order="${order}"${sorted} title="${escapeHtml(meaning)}"><button type="button">${escapeHtml(title)}</button></th>`
}

function cellId(id: string, column: string): string {
  return `server-${id}-${column}`
}

/** Returns all addresses, and the number of those for which there is no room. */
function addressesOf({ listens }: ServerSample): string {
  const [first, ...others] = [...new Set(listens.map((listen) => clean(addressOf(listen))))]
  if (first === undefined) return '-'
  return `${fit(first, ADDRESS_COLUMNS)}${others.length === 0 ? '' : ` +${others.length}`}`
}

function count(value: number | null): string {
  return value === null ? '-' : integer(value)
}

function percent(share: number | null): string {
  return share === null ? '-' : `${(share * 100).toFixed(1)} %`
}
