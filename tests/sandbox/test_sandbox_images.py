"""Result images: PNGs that a decoder would take."""

import struct
import zlib

import pytest

from sandbox.images import draw_png, pixel_size


def decoded(png: bytes) -> tuple[int, int, bytes]:
    """Width, height and the filtered rows; asserts signature and check sums on the way."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    at, chunks = 8, {}
    while at < len(png):
        (length,), kind = struct.unpack(">I", png[at : at + 4]), png[at + 4 : at + 8]
        content = png[at + 8 : at + 8 + length]
        assert zlib.crc32(kind + content) == struct.unpack(">I", png[at + 8 + length : at + 12 + length])[0]
        chunks[kind] = content
        at += 12 + length
    assert [b"IHDR", b"PLTE", b"IDAT", b"IEND"] == list(chunks)
    width, height, depth, colour_type = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    assert (2, 3, 12) == (depth, colour_type, len(chunks[b"PLTE"]))
    return width, height, zlib.decompress(chunks[b"IDAT"])


@pytest.mark.parametrize("resolution", ["1k", "2k", "4k"])
@pytest.mark.parametrize("ratio", ["16:9", "9:16", "1:1", "4:3", "3:4", "3:2", "2:3", "21:9", "auto"])
def test_an_image_has_its_size_its_ratio_and_all_its_rows(ratio, resolution):
    width, height = pixel_size(ratio, resolution)
    png = draw_png("task/0", width=width, height=height)

    across, down = (1, 1) if ratio == "auto" else map(int, ratio.split(":"))
    assert {"1k": 1024, "2k": 2048, "4k": 4096}[resolution] == max(width, height)
    assert width / height == pytest.approx(across / down, rel=0.005)
    found_width, found_height, rows = decoded(png)
    assert (width, height) == (found_width, found_height)
    assert height * (1 + (width + 3) // 4) == len(rows)
    assert {0, 2} == set(rows[:: 1 + (width + 3) // 4])
    assert len(png) < 16_000


def test_each_task_and_index_has_a_picture_of_its_own():
    pictures = {draw_png(f"{task}/{index}", width=64, height=64) for task in range(5) for index in range(9)}

    assert 45 == len(pictures)


def test_the_same_name_is_the_same_picture():
    assert draw_png("a", width=64, height=32) == draw_png("a", width=64, height=32)


async def test_a_finished_task_serves_as_many_images_as_were_ordered(play):
    sandbox = await play()
    task_id = await sandbox.task_id("kling", "a fox [[seconds=0]]", "t_1", n=3, aspect_ratio="3:2")
    data = (await sandbox.query("kling", task_id)).json()["data"]
    images = [await sandbox.client.get(image["url"]) for image in data["task_result"]["images"]]

    assert [0, 1, 2] == [image["index"] for image in data["task_result"]["images"]]
    assert ["image/png"] * 3 == [image.headers["content-type"] for image in images]
    assert [(1024, 683)] * 3 == [decoded(image.content)[:2] for image in images]
    assert 3 == len({image.content for image in images})


async def test_a_watermarked_image_is_another_one(play):
    sandbox = await play(task_seconds=0)
    task_id = await sandbox.task_id("kling", "a fox", "t_1", watermark_info={"enabled": True})
    (image,) = (await sandbox.query("kling", task_id)).json()["data"]["task_result"]["images"]
    plain, marked = [await sandbox.client.get(image[key]) for key in ("url", "watermark_url")]

    assert (200, 200) == (plain.status_code, marked.status_code)
    assert plain.content != marked.content


async def test_there_is_no_image_before_success_nor_beyond_the_last(play):
    sandbox = await play(task_seconds=60)
    working = await sandbox.task_id("kling", "a fox", "t_1")
    done = await sandbox.task_id("kling", "a fox [[seconds=0]]", "t_2")
    names = [f"{working}/0.png", f"{done}/1.png", f"{done}/x.png", "unknown/0.png"]

    for name in names:
        assert 404 == (await sandbox.client.get(f"{sandbox.running.base_url}/sandbox/images/{name}")).status_code
