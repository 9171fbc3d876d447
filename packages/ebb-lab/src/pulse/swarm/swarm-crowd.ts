/** A crowd that the agents of a swarm hold. `pulse()` uses it like a crowd of its own. */
import { addCauses, type Causes, count, total } from '../causes.js'
import type { Arrivals, Crowd } from '../crowd.js'
import { type IdRange, idRanges } from '../ids.js'
import { Latencies, Latency } from '../latencies.js'
import { addOpened, emptyOpened, type Opened } from '../opened.js'
import type { Plan } from '../plan.js'
import { addTraffic, emptyTraffic, type Traffic } from '../traffic.js'
import { capacityToAll, describeCapacity } from './capacity.js'
import type { Coordinator } from './coordinator.js'
import { AGENT_LOST, SwarmError } from './errors.js'
import type { Member } from './member.js'
import { type Answer, type ConnectSettings, type Part, planToJson } from './messages.js'
import { split } from './split.js'

/** Maximum number of agents to name in an error. */
const MAX_NAMED = 8

let crowds = 0

/** Agents that make connections, with the number of connections that each can hold to the server. */
interface Room {
  members: Member[]
  /** Capacity of each member. */
  capacities: number[]
  /** Sum of the capacities. */
  all: number
}

/** An agent that refuses to prepare its share. */
interface Refusal {
  member: Member
  reason: string
}

/** The plan that agents go on with if they lose the coordinator. */
export interface CrowdPlan {
  plan: Plan
  /** Milliseconds without a coordinator after which an agent closes everything. */
  grace: number
  /** Called when other agents than before have prepared. */
  onChange: () => Promise<void>
}

/** Shares its connections out over agents, in proportion to their capacities. */
export class SwarmCrowd implements Crowd {
  readonly latencies = new Latencies()
  /** Number of this crowd, which tells its preparations from those of other crowds. */
  readonly #number = ++crowds
  readonly #coordinator: Coordinator
  readonly #settings: ConnectSettings
  readonly #most: number
  readonly #plan: CrowdPlan | undefined
  #pulses = 0
  /** Agents that were ordered to connect and not yet ordered to close. */
  readonly #holders = new Set<Member>()

  private constructor(coordinator: Coordinator, settings: ConnectSettings, most: number, plan: CrowdPlan | undefined) {
    this.#coordinator = coordinator
    this.#settings = settings
    this.#most = most
    this.#plan = plan
  }

  /**
   * Makes a crowd of up to `most` connections. The rate of `settings` is that of all agents together.
   *
   * @param plan what agents go on with if they lose the coordinator. Default: they close everything
   * @throws {SwarmError} if the agents cannot hold `most` connections, or one of them refuses
   */
  static async create(
    coordinator: Coordinator,
    settings: ConnectSettings,
    most: number,
    plan?: CrowdPlan
  ): Promise<SwarmCrowd> {
    const crowd = new SwarmCrowd(coordinator, settings, most, plan)
    crowd.#checkRoom()
    const refusals = await crowd.#prepare()
    const [first] = refusals
    if (first === undefined) return crowd
    const refusal = `the agent ${first.member.name} refuses: ${first.reason}`
    throw new SwarmError(refusals.length === 1 ? refusal : `${refusal} (one of ${refusals.length} that refuse)`)
  }

  get open(): number {
    return this.#coordinator.open
  }

  get failed(): number {
    return this.#coordinator.failing
  }

  get gone(): AbortSignal {
    return this.#coordinator.gone
  }

  /** Arrivals begin together at all agents, at a time that the coordinator chooses: `start` has no effect. */
  async connect(n: number, signal?: AbortSignal, { rate, replace = false }: Arrivals = {}): Promise<Opened> {
    const sum = emptyOpened()
    const pulse = this.#pulses++
    // Preparing again would close what is open.
    if (this.#coordinator.degraded && this.#held === 0) await this.#replenish(signal)
    if (signal?.aborted) return { ...sum, abandoned: n }
    const { members, shares, placed } = this.#shareOut(n, replace)
    count(sum.failed, AGENT_LOST, n - placed)
    const starts: { at: number; error: number }[] = []
    const abort = (): void => {
      for (const member of members) void this.#coordinator.ask(member, { order: 'abort' })
    }
    signal?.addEventListener('abort', abort)
    const at = this.#coordinator.soon()
    await Promise.all(
      members.map(async (member, i) => {
        const share = shares[i] ?? 0
        // An agent that may go on alone has to know how far the plan is.
        if (share === 0 && this.#plan === undefined) return
        const { offset = 0, error = 0 } = member.clock.best ?? {}
        this.#holders.add(member)
        const answer = await this.#coordinator.ask(member, {
          order: 'connect',
          pulse,
          n: share,
          of: n,
          at: at + offset,
          ...(rate !== undefined && { rate: (rate * share) / n }),
          ...(replace && { replace })
        })
        if (answer?.answer === 'connected' && share > 0) starts.push({ at: answer.began - offset, error })
        this.#addResult(sum, member, this.#takeResult(member, share, answer))
      })
    )
    signal?.removeEventListener('abort', abort)
    this.#coordinator.addStarts(starts)
    return sum
  }

  async close(): Promise<void> {
    const at = this.#coordinator.soon()
    await Promise.all(
      [...this.#holders].map(async (member) => {
        const { offset = 0 } = member.clock.best ?? {}
        const answer = await this.#askHolder(member, { order: 'close', at: at + offset })
        if (answer?.answer !== 'done') return
        this.#holders.delete(member)
        member.held = 0
        member.open = 0
      })
    )
  }

  async shrink(n: number): Promise<void> {
    const members = [...this.#holders].filter(({ state }) => state === 'here')
    const shares = split(
      Math.min(n, this.#held),
      members.map(({ held }) => held)
    )
    await Promise.all(
      members.map(async (member, i) => {
        const share = shares?.[i] ?? 0
        if (share === 0) return
        const answer = await this.#askHolder(member, { order: 'shrink', n: share })
        if (answer?.answer === 'done') member.held -= share
      })
    )
  }

  takeAllLost(): Promise<Causes> {
    return this.takeLost()
  }

  async takeTraffic(): Promise<Traffic> {
    const sum = emptyTraffic()
    await Promise.all(
      this.#coordinator.pulsing.map(async (member) => {
        if (member.prepared === '') return
        const answer = await this.#askHolder(member, { order: 'traffic' })
        if (answer?.answer !== 'traffic' || !this.#addAnswers(member, answer)) return
        addTraffic(sum, answer.traffic)
        addCauses(member.total.unanswered, answer.traffic.unanswered)
      })
    )
    return sum
  }

  async takeLost(): Promise<Causes> {
    const lost: Causes = {}
    await Promise.all(
      this.#coordinator.pulsing.map(async (member) => {
        if (member.prepared === '') return
        const answer = await this.#askHolder(member, { order: 'lost' })
        if (answer?.answer !== 'lost') return
        addCauses(lost, answer.lost)
        addCauses(member.total.lost, answer.lost)
        member.held = Math.max(0, member.held - total(answer.lost))
      })
    )
    for (const member of this.#holders) {
      if (member.state === 'here') continue
      count(lost, AGENT_LOST, member.held)
      count(member.total.lost, AGENT_LOST, member.held)
      member.held = 0
      this.#holders.delete(member)
    }
    return lost
  }

  async dispose(): Promise<void> {}

  /** @throws {SwarmError} if the agents cannot hold as many connections as the crowd may have */
  #checkRoom(): void {
    const { members, capacities, all } = this.#room()
    if (this.#most <= all) return
    const to = hostsOf(this.#settings).join(', ')
    const each = members.map(({ name, capacity }, i) => `${name} ${capacities[i]} (${describeCapacity(capacity)})`)
    const named = each.slice(0, MAX_NAMED)
    if (each.length > MAX_NAMED) named.push(`and ${each.length - MAX_NAMED} more`)
    throw new SwarmError(
      `${this.#most} connections to ${to} are ${this.#most - all} more than the ${all} ` +
        `that swarm ${this.#coordinator.swarm} offers: ${named.join(', ') || 'no agent makes connections'}; ` +
        'add agents, or source addresses'
    )
  }

  /** Takes agents again after one was lost, and has all of them prepare. Gives up the agents that refuse. */
  async #replenish(signal: AbortSignal | undefined): Promise<void> {
    await this.#coordinator.replenish(signal)
    for (let refusals = await this.#prepare(); refusals.length > 0; refusals = await this.#prepare()) {
      for (const { member, reason } of refusals) this.#coordinator.lose(member, reason)
    }
    await this.#plan?.onChange()
  }

  /**
   * Has every agent prepare its share. If an agent is lost meanwhile, the shares of the others grow, and all prepare
   * again.
   *
   * @returns the agents that refuse
   */
  async #prepare(): Promise<Refusal[]> {
    for (;;) {
      const { members, capacities, all } = this.#room()
      const shares = split(Math.min(this.#most, all), capacities) ?? []
      const parts = this.#parts(capacities, all)
      const ids = idRanges(shares.length > 0 ? shares : capacities.map(() => 0))
      const refusals: Refusal[] = []
      await Promise.all(
        members.map(async (member, i) => {
          const part = parts?.[i]
          const reason = await this.#prepareMember(member, capacities[i] as number, ids[i] as IdRange, part)
          if (reason !== undefined) refusals.push({ member, reason })
        })
      )
      if (refusals.length > 0 || members.every(({ state }) => state === 'here')) return refusals
    }
  }

  /** Returns the part of the plan of each agent, or undefined if they are not to go on alone. */
  #parts(capacities: readonly number[], all: number): Part[] | undefined {
    if (this.#plan === undefined) return undefined
    const { plan, grace } = this.#plan
    const [big, small] = [plan.big, plan.small].map((n) => split(Math.min(n, all), capacities) ?? [])
    const common = { plan: planToJson(plan), first: this.#pulses, grace }
    return capacities.map((_, i) => ({ ...common, big: big?.[i] ?? 0, small: small?.[i] ?? 0 }))
  }

  /** Has one agent prepare its share. Returns the reason if it refuses. */
  async #prepareMember(
    member: Member,
    capacity: number,
    ids: IdRange,
    part: Part | undefined
  ): Promise<string | undefined> {
    const share = ids.count
    // In a smaller pulse, rounding may give the agent one connection more.
    const n = Math.min(share + 1, capacity)
    if (n === 0) return undefined
    const { rate: allRate } = this.#settings
    const rate = allRate === null ? null : (allRate * Math.max(1, share)) / Math.max(1, this.#most)
    const { big = 0, small = 0 } = part ?? {}
    const prepared = `${this.#number} ${n} ${rate} ${big} ${small} ${Object.values(ids).join(' ')}`
    if (member.prepared === prepared) return undefined
    const how = { ...this.#settings, rate }
    const answer = await this.#coordinator.ask(member, { order: 'begin', n, how, ids, ...(part && { part }) })
    if (answer?.answer === 'refused') return answer.reason
    if (answer?.answer === 'done') {
      member.prepared = prepared
      member.preparedFor = n
      member.part = { big, small }
    }
    return undefined
  }

  /** Gives an order to an agent that holds connections, and gives up the agent if it refuses. */
  async #askHolder(member: Member, command: Parameters<Coordinator['ask']>[1]): Promise<Answer | undefined> {
    const answer = await this.#coordinator.ask(member, command)
    this.#loseIfRefused(member, answer)
    return answer
  }

  /**
   * Gives up an agent that refuses an order: it has closed everything, because this process was silent for too long.
   */
  #loseIfRefused(member: Member, answer: Answer | undefined): void {
    if (answer?.answer === 'refused') this.#coordinator.lose(member, answer.reason)
  }

  #addResult(sum: Opened, member: Member, opened: Opened): void {
    addOpened(sum, opened)
    member.held = Math.max(0, member.held + opened.connected - opened.replaced)
    member.total.connected += opened.connected
    addCauses(member.total.failed, opened.failed)
    addCauses(member.total.unanswered, opened.unanswered)
  }

  /**
   * Takes in the answer to an order to open `n` connections: adds its latencies, and gives up the agent if it refuses
   * or sends a result that is not possible. Returns the result; without a valid answer, all connects have failed.
   */
  #takeResult(member: Member, n: number, answer: Answer | undefined): Opened {
    if (answer?.answer === 'connected') {
      const { opened, answered } = answer
      try {
        const sum = opened.connected + opened.abandoned + total(opened.failed)
        if (sum !== n) throw new SwarmError(`${sum} connects in place of ${n}`)
        this.latencies.merge(answer.latencies, { connects: opened.connected, answers: answered })
        return opened
      } catch (error) {
        this.#coordinator.lose(member, `its result is not possible: ${(error as Error).message}`)
      }
    }
    this.#loseIfRefused(member, answer)
    return { ...emptyOpened(), failed: { [AGENT_LOST]: n } }
  }

  /** Adds the latencies of answers. Returns false after it has given up an agent whose latencies are not possible. */
  #addAnswers(member: Member, { answers, answered }: Extract<Answer, { answer: 'traffic' }>): boolean {
    try {
      const checked = new Latency()
      if (answers !== null) checked.merge(answers, answered)
      else if (answered > 0) throw new SwarmError(`${answered} answers have no latencies`)
      if (answers !== null) this.latencies.answers.merge(answers)
      return true
    } catch (error) {
      this.#coordinator.lose(member, `its result is not possible: ${(error as Error).message}`)
      return false
    }
  }

  /** Number of connections that the agents hold according to their answers. */
  get #held(): number {
    return [...this.#holders].reduce((sum, { state, held }) => sum + (state === 'here' ? held : 0), 0)
  }

  /**
   * Shares `n` connects out over the agents: by their capacities, beside open connections by the room that is left, and
   * for replacements by what each agent holds.
   */
  #shareOut(n: number, replace: boolean): { members: Member[]; shares: number[]; placed: number } {
    const { members, capacities } = this.#room()
    let weights = capacities
    if (replace) weights = members.map(({ held }) => held)
    else if (this.#held > 0) weights = members.map(({ preparedFor, held }) => Math.max(0, preparedFor - held))
    const all = weights.reduce((sum, weight) => sum + weight, 0)
    // An agent may replace a connection more than once.
    if (replace && all > 0) weights = weights.map((weight) => weight * Math.ceil(n / all))
    const placed = replace && all > 0 ? n : Math.min(n, all)
    return { members, shares: split(placed, weights) ?? [], placed }
  }

  #room(): Room {
    const members = this.#coordinator.pulsing
    const capacities = members.map(({ capacity }) => capacityToAll(hostsOf(this.#settings), capacity))
    return { members, capacities, all: capacities.reduce((sum, capacity) => sum + capacity, 0) }
  }
}

/** Returns the hosts of all servers. */
function hostsOf({ server, others = [] }: ConnectSettings): string[] {
  return [server, ...others].map(({ host }) => host)
}
