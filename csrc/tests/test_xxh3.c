/* XXH3-64 and XXH64 against values of the reference implementation: one length for each path, and that alignment does not
 * matter. The full comparison, over all lengths, is in tests/ring/test_hash.py. */
#undef NDEBUG
#include "../xxh3.h"

#include <assert.h>
#include <stdio.h>

static const struct {
    size_t length;
    uint64_t seed, xxh3, xxh64;
} vectors[] = {
    {1, 0x0u, 0x4c5cca45d0f4811fu, 0xa96c7f0ce858bbb7u},
    {1, 0x9e3779b97f4a7c15u, 0x2f3acd3805f81de3u, 0x585882422a6165e7u},
    {2, 0x0u, 0x29c60963cbfa4e6eu, 0xc22c6a70ad56bba6u},
    {2, 0x9e3779b97f4a7c15u, 0x28a7b77c08c091ebu, 0x44c43596a6307bb0u},
    {3, 0x0u, 0x6e3e2670e61106acu, 0xbed43740ee6332bbu},
    {3, 0x9e3779b97f4a7c15u, 0xbc74611d87f659e0u, 0x45fa1406538fa168u},
    {4, 0x0u, 0x5c4c63133443d03fu, 0xfa212ae44b3bb23du},
    {4, 0x9e3779b97f4a7c15u, 0x6c3753177c607de4u, 0xa65107f22943365au},
    {5, 0x0u, 0x49f5eb3111280b63u, 0xd339dcc9ac8e6776u},
    {5, 0x9e3779b97f4a7c15u, 0xc527066b4c496b85u, 0xf51eda3a20de9b88u},
    {8, 0x0u, 0xf9fd4dd0b04d78f5u, 0x994b676b71ce94ddu},
    {8, 0x9e3779b97f4a7c15u, 0xbc72d0531396303fu, 0xce592d5f53e192ecu},
    {9, 0x0u, 0x7c20df9712c26edfu, 0x572b84c18b983af8u},
    {9, 0x9e3779b97f4a7c15u, 0x93c5aa006102daf5u, 0x5495aa796de8ab73u},
    {15, 0x0u, 0xb345a7b2698ba575u, 0x09e6451ed2ff8b1du},
    {15, 0x9e3779b97f4a7c15u, 0x082933f851ba6e46u, 0x47a857d1f90c35e1u},
    {16, 0x0u, 0x86abf6baccea0858u, 0x94ad0095e72b24d5u},
    {16, 0x9e3779b97f4a7c15u, 0x69d001b16ecf450au, 0x3f8fea7c86a04013u},
    {17, 0x0u, 0xb58bf5dc5022d071u, 0x1464f2eff23b5fe1u},
    {17, 0x9e3779b97f4a7c15u, 0xb7c99d19be27eb69u, 0xe5044d205f3d2f74u},
    {32, 0x0u, 0xe3712ed84c04a66eu, 0x07f7b8e3bc5d6e25u},
    {32, 0x9e3779b97f4a7c15u, 0xe5fb38c81d49c6f5u, 0x046e99bbda1a814bu},
    {33, 0x0u, 0xa4dee99b093e1f73u, 0x09f85eeb4e1cbe9fu},
    {33, 0x9e3779b97f4a7c15u, 0x5a46a370c35146acu, 0xd7fe2bfee6e4cdedu},
    {64, 0x0u, 0x1291d2d4042330ddu, 0x50d4159a0411632eu},
    {64, 0x9e3779b97f4a7c15u, 0x543fa55d8db03991u, 0xa768f350a8e4fcf6u},
    {65, 0x0u, 0x97c6bf83217e5ec9u, 0xd277176bff863efcu},
    {65, 0x9e3779b97f4a7c15u, 0xf3efe40559a76a28u, 0xfe99ab21e40d4b0cu},
    {96, 0x0u, 0x81296929fc063365u, 0x18c8f362eb735341u},
    {96, 0x9e3779b97f4a7c15u, 0x260f288635623ee8u, 0x01a18accd4cb50afu},
    {97, 0x0u, 0xf145a45b658ab9ddu, 0x7683defa1456dab5u},
    {97, 0x9e3779b97f4a7c15u, 0x58817b2a6ec0ed2eu, 0x90c8f5ae688cef2au},
    {128, 0x0u, 0x10d17f72c0ccba41u, 0x0430e433b792e757u},
    {128, 0x9e3779b97f4a7c15u, 0x49b81c6e0abb9305u, 0xa17ef243ce1ff792u},
    {129, 0x0u, 0x1648bdc3db49d1a2u, 0x1f9708e5a00618fau},
    {129, 0x9e3779b97f4a7c15u, 0x5e3831b221810b00u, 0xb5d711b6226e05b6u},
    {143, 0x0u, 0xd05ced598f7f87b3u, 0x04a949da3ac37660u},
    {143, 0x9e3779b97f4a7c15u, 0x83c8b9b72442a01fu, 0xc43a1081ede08822u},
    {144, 0x0u, 0xb46dbfc6d9e31abau, 0xfa74e6fa291142fau},
    {144, 0x9e3779b97f4a7c15u, 0xb72649ca087ff203u, 0xa457dcc39ae3d8d2u},
    {200, 0x0u, 0xc0fbc0f4e181c826u, 0x3b8cc7eaa63f107eu},
    {200, 0x9e3779b97f4a7c15u, 0x83264818fb531769u, 0xcd5273f408a4cfbcu},
    {240, 0x0u, 0xb6cfaf343fab81e6u, 0xca0b65cc61295ca7u},
    {240, 0x9e3779b97f4a7c15u, 0x76a73ec26433f82cu, 0x85e504429b241d4fu},
    {241, 0x0u, 0x956cae592c67279eu, 0x0ffefe0dfc875cf4u},
    {241, 0x9e3779b97f4a7c15u, 0x2be236ba3bacf75cu, 0x537b9610b2f8022du},
    {256, 0x0u, 0xb15e550733c5dfacu, 0xa2dbe913965256fcu},
    {256, 0x9e3779b97f4a7c15u, 0x92999d62f0815eefu, 0x0fdd97b3e0f22d80u},
    {511, 0x0u, 0xa4066d4c39b9f350u, 0xb40b7a852e81692eu},
    {511, 0x9e3779b97f4a7c15u, 0x8383cd8d0e97dda4u, 0xf2acecb630468ff7u},
    {512, 0x0u, 0x304495c2d7cf0b22u, 0xe7592203131d601cu},
    {512, 0x9e3779b97f4a7c15u, 0x9cdcb21a9df9e22du, 0x808375c5d1eb3e99u},
    {1023, 0x0u, 0xcc249fc6a523fb5bu, 0xc28d3003ce7f63f2u},
    {1023, 0x9e3779b97f4a7c15u, 0x28f96ac1065a885eu, 0xeb97b97c7bec03a7u},
    {1024, 0x0u, 0xea76dda06d735ac5u, 0xa8e500272fe4ca66u},
    {1024, 0x9e3779b97f4a7c15u, 0x882c04e81f05ab27u, 0xfd98ab110a023abau},
    {1025, 0x0u, 0xbadeb1907fb9a31eu, 0xf0e220067569ad79u},
    {1025, 0x9e3779b97f4a7c15u, 0xdc24cbcf2f36ce0du, 0x32d63021870ec1e3u},
    {1088, 0x0u, 0x51494bd7dbdc22acu, 0x7b7b1a3728ab2939u},
    {1088, 0x9e3779b97f4a7c15u, 0x5f47ae1c051a93bbu, 0xe9419a6b1bdac906u},
    {1089, 0x0u, 0x74285f047ae14b66u, 0xe65a3c4c29ac0e0au},
    {1089, 0x9e3779b97f4a7c15u, 0xb425aa4d0999ef82u, 0x0fe1ffa9bde0ffbbu},
    {2048, 0x0u, 0xf78ccaa92a32989du, 0x8f8ed6350ae8f1b9u},
    {2048, 0x9e3779b97f4a7c15u, 0x1858bc0728e9cd5fu, 0x3cafefd7427f820du},
};

int main(void) {
    uint8_t input[2048 + 8];
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        for (size_t shift = 0; shift < 8; shift++) {
            for (size_t j = 0; j < vectors[i].length; j++) input[shift + j] = (uint8_t)(j * 131 + (j >> 8) + 7);
            assert(xxh3_64(input + shift, vectors[i].length, vectors[i].seed) == vectors[i].xxh3);
            assert(xxh64(input + shift, vectors[i].length, vectors[i].seed) == vectors[i].xxh64);
        }
    }
    assert(xxh3_64(NULL, 0, 0) == 0x2d06800538d394c2u);
    assert(xxh64(NULL, 0, 0) == 0xef46db3751d8e999u);
    puts("xxh3: ok");
    return 0;
}
