/** `npm run bench:handover`: {@link ABOUT}. */
import { compare } from '../harness/comparison.mjs'
import { idle } from './idle.mjs'
import { kept } from './kept.mjs'
import { restarts } from './restarts.mjs'
import { table } from './table.mjs'
import { upkeep } from './upkeep.mjs'

const ABOUT = `Measures handovers: how long the two processes are blocked, what a connection costs, and what clients
  notice of five restarts, beside a graceful restart of plain Node. Then kills a process of \`ebb run --keep\`. Each
  server and each crowd of clients is a process of its own.

  Takes four minutes on two idle cores, and 20,000 descriptors per process.`

/** @type {readonly Part[]} */
const NAMES = ['idle', 'restarts', 'kept', 'upkeep']

/** @typedef {'idle' | 'restarts' | 'kept' | 'upkeep'} Part */

await compare({
  script: 'bench:handover',
  about: ABOUT,
  title: 'handovers, and the keeper',
  names: NAMES,
  table,
  parts: (sized) => ({
    idle: () => idle(sized(19_000), sized(5)),
    restarts: () => restarts(sized(1000), sized(5)),
    kept: () => kept(sized(18_000), sized(5)),
    upkeep: () => upkeep(sized(2000), sized(10))
  })
})
