/**
 * Which file may import which. Type imports count as well.
 *
 * A package is a list of floors, from the top to the bottom. The files of a floor import files of their own room and of
 * lower floors. Two rooms on one floor do not import each other. Unit tests and their helpers (`*.test.ts`,
 * `testing/`) stand outside of the floors.
 *
 * `test/rules.test.ts` breaks every rule once and expects its name in the output.
 */

const FACES = '[^/]+\\.ts'

/** The floors of each package. A floor is a list of rooms. {@link FACES} stands for the files beside the rooms. */
const FLOORS = {
  ebb: [
    [FACES],
    ['run', 'preload', 'metrics', 'inside'],
    ['handover'],
    ['websocket'],
    ['park', 'listen'],
    ['socket'],
    ['govern'],
    ['memory'],
    ['proc'],
    ['sys']
  ],
  'ebb-lab': [
    [FACES],
    ['cli'],
    ['live'],
    ['experiment'],
    ['report'],
    ['serve', 'pulse', 'record', 'doctor', 'top'],
    ['process'],
    ['units']
  ]
}

const OF_TESTS = '\\.test\\.ts$|/testing/'
/** The built files of the importing package, in the workspace or in `node_modules`. */
const OWN_BUILT = ['^packages/$1/((build|dist)/|package\\.json)', '(^|/)node_modules/$1/']
const BUILT_OR_SOURCE = '^packages/[^/]+/(src|build|dist)/'

/** One rule a room: all rooms of the package that are neither this one nor below it are out of reach. */
function floorRules() {
  return Object.entries(FLOORS)
    .flatMap(([name, floors]) =>
      floors.flatMap((rooms, level) =>
        rooms.map((room) => {
          const outOfReach = floors
            .slice(0, level + 1)
            .flat()
            .filter((other) => other !== room)
          return {
            name: `floors-${name}-${room === FACES ? 'faces' : room}`,
            comment: `packages/${name}/src: imports go down only, and never to a room of the same floor.`,
            severity: 'error',
            from: { path: `^packages/${name}/src/${pathOf(room)}`, pathNot: OF_TESTS },
            to: { path: outOfReach.map((other) => `^packages/${name}/src/${pathOf(other)}`) }
          }
        })
      )
    )
    .filter(({ to }) => to.path.length > 0)
}

function pathOf(room) {
  return room === FACES ? `${FACES}$` : `${room}/`
}

function roomsOf(name) {
  return `^packages/${name}/src/(${FLOORS[name].flat().map(pathOf).join('|')})`
}

export default {
  forbidden: [
    ...floorRules(),
    {
      name: 'no-face-imported',
      comment: 'Faces say what a package exports. Inside the package, import the file that defines a name.',
      severity: 'error',
      from: { path: '^packages/([^/]+)/src/', pathNot: OF_TESTS },
      to: { path: `^packages/$1/src/${FACES}$` }
    },
    {
      name: 'no-self-import',
      comment: 'A package does not import itself by its name: that leads past the floors, to what is built.',
      severity: 'error',
      from: { path: '^packages/([^/]+)/src/', pathNot: OF_TESTS },
      to: { path: OWN_BUILT, pathNot: '/package\\.json$' }
    },
    {
      name: 'no-self-import-in-tests',
      comment: 'A unit test imports sources, or the `testing` entry of its package where it starts what is built.',
      severity: 'error',
      from: { path: ['^packages/([^/]+)/src/.*\\.test\\.ts$', '^packages/([^/]+)/src/.*/testing/'] },
      to: { path: OWN_BUILT, pathNot: ['/package\\.json$', '/dist/(cjs/)?testing\\.(js|d\\.ts)$'] }
    },
    {
      name: 'every-file-has-a-room',
      comment: 'A new room needs a floor: add it to FLOORS in .dependency-cruiser.mjs.',
      severity: 'error',
      from: { path: '^packages/[^/]+/src/', pathNot: Object.keys(FLOORS).map(roomsOf) },
      to: {}
    },
    {
      name: 'no-circles',
      comment: 'Two files that import each other, also by way of others, are one file or need a third.',
      severity: 'error',
      from: { pathNot: '^node_modules/' },
      to: { circular: true }
    },
    {
      name: 'libc-in-sys-only',
      comment: 'Only sys/ calls the C library. Other rooms call functions of sys/; constants are in sys/constants.ts.',
      severity: 'error',
      from: { path: '^packages/', pathNot: ['^packages/ebb/src/sys/', '^packages/ebb/src/sys\\.ts$', OF_TESTS] },
      to: { path: '^packages/ebb/src/sys/libc\\.ts$' }
    },
    {
      name: 'koffi-in-libc-only',
      comment: 'One file binds the C library, so one file says why it cannot.',
      severity: 'error',
      from: { pathNot: '^packages/ebb/src/sys/libc\\.ts$' },
      to: { path: '(^|/)node_modules/(koffi|@koromix)/' }
    },
    {
      name: 'public-exports-only',
      comment: 'Benchmarks, tests and examples import what the packages export (`ebb/testing`, `ebb-lab/testing` too).',
      severity: 'error',
      from: { path: '^(bench|test|examples|tools)/' },
      to: { path: BUILT_OR_SOURCE, dependencyTypes: ['local'], dependencyTypesNot: ['aliased-workspace'] }
    },
    {
      name: 'packages-apart',
      comment: 'A package imports another one by its name. Only unit tests import the helpers in test/support/.',
      severity: 'error',
      from: { path: '^packages/([^/]+)/', pathNot: OF_TESTS },
      to: {
        path: '^(packages/(?!$1/)|bench/|test/|examples/|tools/)',
        dependencyTypes: ['local'],
        dependencyTypesNot: ['aliased-workspace']
      }
    },
    {
      name: 'unit-tests-apart',
      comment: 'A unit test imports sources of its own package, exports of the other one and helpers in test/support/.',
      severity: 'error',
      from: { path: ['^packages/([^/]+)/src/.*\\.test\\.ts$', '^packages/([^/]+)/src/.*/testing/'] },
      to: {
        path: '^(packages/(?!$1/)|bench/|test/(?!support/)|examples/|tools/)',
        dependencyTypes: ['local'],
        dependencyTypesNot: ['aliased-workspace']
      }
    },
    {
      name: 'benchmarks-apart',
      comment: 'What two benchmarks need is in bench/harness/.',
      severity: 'error',
      from: { path: '^bench/([^/]+)/' },
      to: { path: '^bench/', pathNot: ['^bench/$1/', '^bench/harness/'] }
    },
    {
      name: 'tests-not-imported',
      comment: 'Published code does not import tests or their helpers; the `testing` entries may import helpers.',
      severity: 'error',
      from: { path: '^packages/', pathNot: [OF_TESTS, '^packages/[^/]+/src/testing\\.ts$'] },
      to: { path: OF_TESTS }
    },
    {
      name: 'resolvable',
      comment: 'An import that leads nowhere escapes every other rule.',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true }
    }
  ],
  options: {
    // Type-only imports count.
    tsPreCompilationDeps: true,
    detectProcessBuiltinModuleCalls: true,
    doNotFollow: { path: ['(^|/)node_modules/', '^packages/[^/]+/(build|dist)/'] },
    exclude: { path: '^bench/\\.peers/' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default', 'types'],
      mainFields: ['main', 'types']
    }
  }
}
