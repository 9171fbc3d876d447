/** Decides which processes are one server. */

/** A process, as far as grouping needs to know it. */
export interface Member {
  pid: number
  parent: number
  /** Identity of its executable. Processes of different programs are never one server. */
  program: string
  /** Addresses that it listens on; processes that share a port have the same. */
  addresses: readonly string[]
  /** Whether it starts servers and waits for them, as `ebb run` does. */
  supervises: boolean
  /** Whether it is a package manager, a shell or the like, which belongs to no server. */
  wraps: boolean
  /** Whether it is shown although it does not listen. */
  chosen: boolean
}

/**
 * Returns the servers: lists of processes, the main process first. A server is made of
 *
 * - processes of one program that listen on the same address: workers that share a socket or a port,
 * - their descendants of the same program that do not listen: workers of a cluster whose primary accepts,
 * - their parent of the same program, if it is `ebb run` or `ebb serve`, or has several of them.
 */
export function groupServers<M extends Member>(members: readonly M[]): M[][] {
  const byPid = new Map(members.map((member) => [member.pid, member]))
  const sets = new Sets<M>()
  const byAddress = new Map<string, M>()
  for (const member of members) {
    for (const address of member.addresses) {
      const key = `${member.program}\n${address}`
      const other = byAddress.get(key)
      if (other === undefined) byAddress.set(key, member)
      else sets.join(other, member)
    }
  }
  for (const member of members) joinParent(member, byPid, sets)
  const servers = new Map<M, M[]>()
  for (const member of members) {
    const root = sets.root(member)
    const server = servers.get(root)
    if (server === undefined) servers.set(root, [member])
    else server.push(member)
  }
  return [...servers.values()]
    .filter((server) => server.some(({ addresses, chosen }) => addresses.length > 0 || chosen))
    .map((server) => mainFirst(server, byPid))
}

/** Joins a process with its parent if they are one server. */
function joinParent<M extends Member>(member: M, byPid: ReadonlyMap<number, M>, sets: Sets<M>): void {
  const parent = byPid.get(member.parent)
  if (parent === undefined || parent.program !== member.program || parent.wraps || member.wraps) return
  // A supervisor joins its servers only if it serves nothing else.
  const isWorker = member.addresses.length === 0 && !member.supervises
  if (isWorker ? belongsToServer(parent, byPid) : parent.addresses.length === 0 && supervisesOne(parent, byPid, sets)) {
    sets.join(parent, member)
  }
}

/** Whether a process listens, or descends from a process of the same program that does. */
function belongsToServer<M extends Member>(member: M, byPid: ReadonlyMap<number, M>): boolean {
  for (let at: M | undefined = member; at !== undefined; ) {
    if (at.addresses.length > 0) return true
    const above = byPid.get(at.parent)
    at = above?.program === member.program && above !== at ? above : undefined
  }
  return false
}

/** Whether all children that listen are one server, of which this process is the supervisor. */
function supervisesOne<M extends Member>(parent: M, byPid: ReadonlyMap<number, M>, sets: Sets<M>): boolean {
  const children = [...byPid.values()].filter((child) => child.parent === parent.pid && child.addresses.length > 0)
  const [first, ...others] = children
  if (first === undefined || others.some((child) => sets.root(child) !== sets.root(first))) return false
  return parent.supervises || others.length > 0
}

/** Returns the processes with the topmost first, and the others by pid. */
function mainFirst<M extends Member>(server: readonly M[], byPid: ReadonlyMap<number, M>): M[] {
  const own = new Set(server)
  const isTop = ({ parent }: M): boolean => {
    const above = byPid.get(parent)
    return above === undefined || !own.has(above)
  }
  return server.toSorted((a, b) => Number(isTop(b)) - Number(isTop(a)) || a.pid - b.pid)
}

/** Disjoint sets. */
class Sets<T> {
  readonly #parents = new Map<T, T>()

  root(item: T): T {
    let at = item
    for (let next = this.#parents.get(at); next !== undefined; next = this.#parents.get(at)) at = next
    return at
  }

  join(a: T, b: T): void {
    const [left, right] = [this.root(a), this.root(b)]
    if (left !== right) this.#parents.set(right, left)
  }
}
