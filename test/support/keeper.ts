/** A keeper, for tests. */
import { Child } from './child.js'
import { handoverPath, Member, type MemberOptions } from './handover.js'

/** A keeper in a process of its own. `size` and `fds` print what it holds. */
export class KeeperProcess extends Child {
  constructor(path: string, handover: string) {
    super(`
      import fs from 'node:fs'
      import { createInterface } from 'node:readline'
      import { Keeper } from 'ebb/testing'
      const print = (value) => fs.writeSync(1, JSON.stringify(value) + '\\n')
      const keeper = new Keeper(${JSON.stringify(path)}, ${JSON.stringify(handover)}, (text) => console.error(text))
      const commands = { size: () => keeper.size, fds: () => fs.readdirSync('/proc/self/fd').length }
      createInterface(process.stdin).on('line', (line) => print(commands[line]()))
      print('ready')
    `)
  }

  size(): Promise<number> {
    return this.ask<number>('size')
  }
}

/** A number of 0 to `below`, the same for each seed. */
export function random(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (state * 1_103_515_245 + 12_345) % 2 ** 31
    return Math.floor((state / 2 ** 31) * below)
  }
}

/** A keeper, and how processes are started whose connections it keeps. */
export interface Kept {
  path: string
  keeperPath: string
  keeper: KeeperProcess
  start(options?: MemberOptions): Member
}

export async function kept(): Promise<Kept> {
  const path = handoverPath()
  const keeperPath = path.replace('handover', 'keeper')
  const keeper = new KeeperProcess(keeperPath, path)
  await keeper.next()
  const shell = `export EBB_KEEPER=${keeperPath}`
  return { path, keeperPath, keeper, start: (options) => new Member(path, { shell, ...options }) }
}

export async function killed(member: Member): Promise<void> {
  member.process.kill('SIGKILL')
  await member.ended
}
