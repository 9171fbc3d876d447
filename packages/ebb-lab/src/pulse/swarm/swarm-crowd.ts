/** A crowd that agents hold: what `pulse()` opens and closes when it has a swarm. */
import { addCauses, addOpened, type Causes, count, emptyOpened, type Opened, total } from '../client.js'
import type { Crowd } from '../crowd.js'
import { LatencyHistogram } from '../histogram.js'
import { capacityTo, describeCapacity } from './capacity.js'
import { AGENT_LOST, type Coordinator, SwarmError } from './coordinator.js'
import type { Member } from './member.js'
import { type Answer, type How, howSchema } from './messages.js'
import { split } from './split.js'

/** Agents that are named in a sentence, at most. */
const NAMED = 8

let crowds = 0

export class SwarmCrowd implements Crowd {
  readonly latency = new LatencyHistogram()
  readonly #number = ++crowds
  readonly #coordinator: Coordinator
  readonly #how: How
  readonly #most: number
  #pulses = 0
  /** Whom it has asked to connect. */
  readonly #holders = new Set<Member>()

  private constructor(coordinator: Coordinator, how: How, most: number) {
    this.#coordinator = coordinator
    this.#how = how
    this.#most = most
  }

  /**
   * A crowd of up to `most` connections; the rate of `how` is that of all agents together.
   *
   * @throws {SwarmError} that is more than the agents offer, or one of them refuses; ZodError for what no agent would read
   */
  static async of(coordinator: Coordinator, how: How, most: number): Promise<SwarmCrowd> {
    howSchema.parse(how)
    const crowd = new SwarmCrowd(coordinator, how, most)
    const { members, room, all } = crowd.#room()
    if (most > all) {
      const each = members.map(({ name, capacity }, i) => `${name} ${room[i]} (${describeCapacity(capacity)})`)
      const who = each.length > NAMED ? [...each.slice(0, NAMED), `and ${each.length - NAMED} more`] : each
      throw new SwarmError(
        `${most} connections to ${how.server.host} are ${most - all} more than the ${all} that swarm ${coordinator.swarm} offers: ${who.join(', ') || 'no agent makes connections'}; add agents, or source addresses`
      )
    }
    const refusals = await crowd.#begin()
    const [first] = refusals
    if (first === undefined) return crowd
    const told = `the agent ${first.member.name} refuses: ${first.reason}`
    throw new SwarmError(refusals.length === 1 ? told : `${told} (one of ${refusals.length} that refuse)`)
  }

  get open(): number {
    return this.#coordinator.pulsing.reduce((sum, { open }) => sum + open, 0)
  }

  get failed(): number {
    return this.#coordinator.pulsing.reduce((sum, { failing }) => sum + failing, 0)
  }

  get gone(): AbortSignal {
    return this.#coordinator.gone
  }

  async connect(n: number, signal?: AbortSignal): Promise<Opened> {
    const sum = emptyOpened()
    const pulse = this.#pulses++
    if (this.#coordinator.degraded) {
      await this.#coordinator.replenish(signal)
      for (let refusals = await this.#begin(); refusals.length > 0; refusals = await this.#begin()) {
        for (const { member, reason } of refusals) this.#coordinator.lose(member, reason)
      }
    }
    if (signal?.aborted) return { ...sum, abandoned: n }
    const { members, room, all } = this.#room()
    const placed = Math.min(n, all)
    count(sum.failed, AGENT_LOST, n - placed)
    const shares = split(placed, room) ?? []
    const starts: { at: number; error: number }[] = []
    const abort = (): void => {
      for (const member of members) void this.#coordinator.ask(member, { order: 'abort' })
    }
    signal?.addEventListener('abort', abort)
    const at = this.#coordinator.soon()
    await Promise.all(
      members.map(async (member, i) => {
        const share = shares[i] ?? 0
        if (share === 0) return
        const { offset = 0, error = 0 } = member.clock.best ?? {}
        this.#holders.add(member)
        const answer = await this.#coordinator.ask(member, {
          order: 'connect',
          pulse,
          n: share,
          of: n,
          at: at + offset
        })
        const opened = this.#opened(member, share, answer)
        if (answer?.answer === 'connected') starts.push({ at: answer.began - offset, error })
        addOpened(sum, opened)
        member.held += opened.connected
        member.total.connected += opened.connected
        addCauses(member.total.failed, opened.failed)
        addCauses(member.total.unanswered, opened.unanswered)
      })
    )
    signal?.removeEventListener('abort', abort)
    this.#coordinator.began(starts)
    return sum
  }

  async close(): Promise<void> {
    const at = this.#coordinator.soon()
    await Promise.all(
      [...this.#holders].map(async (member) => {
        const { offset = 0 } = member.clock.best ?? {}
        const answer = this.#sound(member, await this.#coordinator.ask(member, { order: 'close', at: at + offset }))
        if (answer?.answer !== 'done') return
        this.#holders.delete(member)
        member.held = 0
        member.open = 0
      })
    )
  }

  async takeLost(): Promise<Causes> {
    const lost: Causes = {}
    await Promise.all(
      this.#coordinator.pulsing.map(async (member) => {
        if (member.prepared === '') return
        const answer = this.#sound(member, await this.#coordinator.ask(member, { order: 'lost' }))
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

  /**
   * Has every agent prepare its share, once more when one is lost meanwhile: the shares of the others have grown then. Returns who will
   * not, and why.
   */
  async #begin(): Promise<{ member: Member; reason: string }[]> {
    for (;;) {
      const { members, room, all } = this.#room()
      const shares = split(Math.min(this.#most, all), room) ?? []
      const refusals: { member: Member; reason: string }[] = []
      await Promise.all(
        members.map(async (member, i) => {
          const reason = await this.#beginOne(member, shares[i] ?? 0, room[i] as number)
          if (reason !== undefined) refusals.push({ member, reason })
        })
      )
      if (refusals.length > 0 || members.every(({ state }) => state === 'here')) return refusals
    }
  }

  /** Undefined, or why it will not. */
  async #beginOne(member: Member, share: number, room: number): Promise<string | undefined> {
    // Of a smaller pulse it may have one more, by its remainder.
    const n = Math.min(share + 1, room)
    if (n === 0) return undefined
    const rate = this.#how.rate === null ? null : (this.#how.rate * Math.max(1, share)) / Math.max(1, this.#most)
    const prepared = `${this.#number} ${n} ${rate}`
    if (member.prepared === prepared) return undefined
    const answer = await this.#coordinator.ask(member, { order: 'begin', n, how: { ...this.#how, rate } })
    if (answer?.answer === 'refused') return answer.reason
    if (answer?.answer === 'done') member.prepared = prepared
    return undefined
  }

  /** What an agent answers that holds what it was told to. One that refuses does not: it freed itself while this process was held up. */
  #sound(member: Member, answer: Answer | undefined): Answer | undefined {
    if (answer?.answer === 'refused') this.#coordinator.lose(member, answer.reason)
    return answer
  }

  /** What an agent told of its share; all of it failed when it did not tell, or told what cannot be. */
  #opened(member: Member, n: number, answer: Answer | undefined): Opened {
    if (answer?.answer === 'connected') {
      const { opened } = answer
      try {
        const sum = opened.connected + opened.abandoned + total(opened.failed)
        if (sum !== n) throw new Error(`${sum} connects in place of ${n}`)
        this.latency.merge(answer.latency, opened.connected)
        return opened
      } catch (error) {
        this.#coordinator.lose(member, `what it tells cannot be: ${(error as Error).message}`)
      }
    }
    this.#sound(member, answer)
    return { ...emptyOpened(), failed: { [AGENT_LOST]: n } }
  }

  #room(): { members: Member[]; room: number[]; all: number } {
    const members = this.#coordinator.pulsing
    const room = members.map(({ capacity }) => capacityTo(this.#how.server.host, capacity))
    return { members, room, all: room.reduce((sum, one) => sum + one, 0) }
  }
}
